"""Which parameters get weight decay."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from tiny_imagenet.errors import UserError


def parameter_groups(module: nn.Module, unfrozen_later: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: matrices and kernels, then norms and biases, which get no weight decay.

    The first group gets the optimizer's weight decay. They are told apart by `ndim`, as in Bag of Tricks
    (https://arxiv.org/abs/1812.01187, section 3.1) and timm. A group without parameters is left out.

    Args:
        module: the network.
        unfrozen_later: its frozen children that will be trained, and are in the groups from the start.

    Raises:
        UserError: everything is frozen.
    """
    later = {parameter for name in unfrozen_later for parameter in module.get_submodule(name).parameters()}
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad or parameter in later]
    if not trainable:
        raise UserError("The whole network is frozen, so there is nothing to train: shorten model.freeze.")
    decayed = [parameter for parameter in trainable if parameter.ndim > 1]
    exempt = [parameter for parameter in trainable if parameter.ndim <= 1]
    groups = [{"params": decayed}, {"params": exempt, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
