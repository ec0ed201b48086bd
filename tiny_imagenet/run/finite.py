"""Detects a loss or weights that are NaN or infinite, without waiting for the device at every step."""

import torch
from torch import Tensor, nn

from tiny_imagenet.errors import UserError


class FiniteCheck:
    """Remembers on the device at which step the loss was first not finite; `require` reads it."""

    def __init__(self) -> None:
        self._first_bad: Tensor | None = None

    def update(self, loss: Tensor, step: int) -> None:
        """Check a step's loss, a scalar tensor. Nothing is copied from the device."""
        if self._first_bad is None:
            self._first_bad = torch.full((), -1, device=loss.device)
        unset_and_bad = (self._first_bad < 0) & ~loss.isfinite()
        self._first_bad = torch.where(unset_and_bad, step, self._first_bad)

    def require(self, network: nn.Module, step: int) -> None:
        """Raise UserError if a loss so far, or a weight now, after `step`, is not finite. Waits for the device."""
        first_bad = -1 if self._first_bad is None else int(self._first_bad)
        if first_bad >= 0:
            what = f"The loss was NaN or infinite at step {first_bad}"
        elif not torch.stack(torch._foreach_norm(list(network.parameters()))).sum().isfinite():
            what = f"The weights were NaN or infinite at step {step}"
        else:
            return
        raise UserError(
            f"{what}: the training has diverged and was stopped; earlier checkpoints are unchanged. Start a new run, "
            "from one of them if you like (--model.weights), with a lower --model.optimizer.lr, a longer warm-up, or "
            "clipped gradients (--trainer.gradient_clip_val 1)."
        )
