"""A loss or weights that are not finite are detected, and the message has the first step with them."""

import pytest
import torch
from torch import nn

from tiny_imagenet.errors import UserError
from tiny_imagenet.run.finite import FiniteCheck


def test_finite_losses_and_weights_pass():
    check = FiniteCheck()
    check.require(nn.Linear(2, 2), 0)
    check.update(torch.tensor(3.0), 0)
    check.require(nn.Linear(2, 2), 1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_first_bad_loss_is_named_even_if_later_ones_are_fine(bad):
    check = FiniteCheck()
    for step, loss in enumerate([1.0, bad, bad, 1.0]):
        check.update(torch.tensor(loss), step)
    with pytest.raises(UserError, match="loss was NaN or infinite at step 1:"):
        check.require(nn.Linear(2, 2), 4)


def test_bad_weights_are_detected_although_the_loss_is_fine():
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match="weights were NaN or infinite at step 7:"):
        FiniteCheck().require(layer, 7)
