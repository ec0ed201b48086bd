"""The Lookahead optimizer."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from tiny_imagenet.errors import UserError


class Lookahead(Optimizer):
    """Lookahead (https://arxiv.org/abs/1907.08610) around any optimizer: k steps forward, one step back.

    The inner optimizer updates the fast weights, which the network holds. After every k steps the slow weights move by
    the fraction alpha towards them, and the fast weights continue from there; the inner optimizer keeps its momentum.
    In between, the network and its checkpoints hold the fast weights, and the optimizer's state the slow ones.

    Own code, since timm's and pytorch_optimizer's wrap an optimizer that is already built, which no config can name,
    and keep the slow weights outside its state. Here both optimizers share `state` and `param_groups`, so that
    schedules, gradient scaling, clipping and resuming see one ordinary optimizer.

    Args:
        params: parameters or groups of parameters.
        optimizer: makes the inner optimizer from them.
        k: steps from one synchronisation to the next.
        alpha: fraction that the slow weights move by, above 0 and at most 1; 1 is the inner optimizer alone.

    Raises:
        UserError: k or alpha is out of range.
    """

    def __init__(
        self, params: Iterable, optimizer: Callable[[Iterable], Optimizer], k: int = 5, alpha: float = 0.5
    ) -> None:
        if k < 1 or not 0 < alpha <= 1:
            raise UserError(
                f"Lookahead needs k of at least 1, and alpha above 0 and at most 1, not k={k} and alpha={alpha}."
            )
        self.optimizer = optimizer(params)
        options = {"lookahead_k": k, "lookahead_alpha": alpha, "lookahead_step": 0}
        # Adds the options to the inner optimizer's groups.
        super().__init__(self.optimizer.param_groups, {**self.optimizer.defaults, **options})
        self.param_groups, self.state = self.optimizer.param_groups, self.optimizer.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of the inner optimizer, and a synchronisation if it is time. Returns the closure's loss."""
        # Optimizers know a parameter's first step by its empty state, so slow weights are stored only afterwards.
        starts = {
            parameter: parameter.clone()
            for group in self.param_groups
            for parameter in group["params"]
            if "slow" not in self.state.get(parameter, ())
        }
        # torch's optimizers enable gradients for the closure themselves.
        loss = self.optimizer.step(closure)
        for group in self.param_groups:
            # A parameter that got no gradient from the closure has not moved: it starts at a later step.
            moving = [parameter for parameter in group["params"] if parameter.grad is not None]
            for parameter in moving:
                if parameter in starts:
                    self.state[parameter]["slow"] = starts[parameter]
            group["lookahead_step"] += 1
            if group["lookahead_step"] % group["lookahead_k"] == 0:
                self._synchronise(moving, group["lookahead_alpha"])
        return loss

    def _synchronise(self, parameters: list[Tensor], alpha: float) -> None:
        for parameter in parameters:
            slow = self.state[parameter]["slow"]
            slow.lerp_(parameter, alpha)
            parameter.copy_(slow)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "optimizer": self.optimizer}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # load_state_dict ends here too, with new state and groups for both optimizers.
        super().__setstate__(state)
        self.optimizer.__setstate__({"state": self.state, "param_groups": self.param_groups})
