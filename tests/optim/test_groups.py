"""Parameter groups: what decays, and what is trained."""

import pytest
from torch import nn
from torch.optim import SGD

from tiny_imagenet.errors import UserError
from tiny_imagenet.optim import parameter_groups


def test_norms_and_biases_are_exempt_from_decay():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    optimizer = SGD(parameter_groups(network), lr=0.1, weight_decay=0.5)
    decay = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    expected = {"0.weight": 0.5, "1.weight": 0.0, "1.bias": 0.0, "3.weight": 0.5, "3.bias": 0.0}
    assert {name: decay[p] for name, p in network.named_parameters()} == expected


def test_frozen_parameters_never_reach_the_optimizer():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    network[0].requires_grad_(False)
    network[1].bias.requires_grad_(False)
    (group,) = parameter_groups(network)
    assert group["params"] == [network[1].weight]
    with pytest.raises(UserError, match="frozen.*model.freeze"):
        parameter_groups(network.requires_grad_(False))
