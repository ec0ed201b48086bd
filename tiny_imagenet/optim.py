"""What trains a network besides torch.optim: decay groups, Lookahead, and a schedule that knows the number of steps."""

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from tiny_imagenet.errors import UserError


def parameter_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: matrices and kernels, then norms and biases, which have no weight decay.

    The first group takes the optimizer's own weight decay. Told apart by `ndim`, as in Bag of Tricks
    (https://arxiv.org/abs/1812.01187, section 3.1) and timm. A group without parameters is left out.

    Raises:
        UserError: everything is frozen.
    """
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trainable:
        raise UserError("The whole network is frozen, so there is nothing to train: shorten model.freeze.")
    decayed = [parameter for parameter in trainable if parameter.ndim > 1]
    exempt = [parameter for parameter in trainable if parameter.ndim <= 1]
    groups = [{"params": decayed}, {"params": exempt, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def build_scheduler(
    scheduler: Callable[..., LRScheduler], optimizer: Optimizer, total_steps: int | None
) -> LRScheduler:
    """Make a schedule, with the number of steps of the training where it takes `total_steps` and was not given them.

    Args:
        scheduler: a class, a function, or what jsonargparse makes of `class_path` and `init_args`: a
            functools.partial that hides the class, and whose keywords hold all of its arguments.
        total_steps: None where the schedule advances by epochs.

    Raises:
        UserError: the schedule refuses its arguments, or has to watch a metric and is not told which.
    """
    given = getattr(scheduler, "keywords", {})
    takes_steps = "total_steps" in given or "total_steps" in inspect.signature(scheduler).parameters
    try:
        if takes_steps and given.get("total_steps") is None:
            schedule = scheduler(optimizer, total_steps=total_steps)
        else:
            schedule = scheduler(optimizer)
    except ValueError as error:
        advice = " Set model.scheduler_interval: step." if takes_steps and total_steps is None else ""
        raise UserError(f"model.scheduler: {error}{advice}") from error
    if isinstance(schedule, ReduceLROnPlateau) and not hasattr(schedule, "monitor"):
        raise UserError(
            "model.scheduler: torch's ReduceLROnPlateau does not say which metric it watches. Set class_path: "
            "lightning.pytorch.cli.ReduceLROnPlateau, init_args: {monitor: val/loss}, and scheduler_interval: epoch."
        )
    return schedule


class WarmupCosine(LRScheduler):
    """Linear warm-up to the optimizer's learning rate, then half a cosine down, step by step.

    In closed form: step t of T, with W of them warm-up, has the factor (t + 1) / (W + 1) for t < W, and then
    r + (1 - r) · (1 + cos(π · (t - W) / (T - W))) / 2, where r is `min_lr_ratio` (SGDR without restarts,
    https://arxiv.org/abs/1608.03983; warm-up as in https://arxiv.org/abs/1706.02677). From step T on it stays as it is.

    A checkpoint holds only the position: a training resumed with another number of steps follows the new curve.

    Args:
        total_steps: optimizer steps of the whole training; ImageClassifier gives them if `scheduler_interval` is step.
        warmup: steps, or as a float a share of all steps, 0..1. A training that is shorter ends in its warm-up.
        min_lr_ratio: learning rate at the end as a share of the highest, 0..1.

    Raises:
        UserError: an argument is out of range, or nobody gave total_steps.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup: int | float = 0.05,
        min_lr_ratio: float = 0.0,
        total_steps: int | None = None,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            raise UserError(
                "WarmupCosine needs to know how many steps there will be: set model.scheduler_interval: step."
            )
        if warmup < 0 or (isinstance(warmup, float) and warmup > 1):
            raise UserError(
                f"warmup is a number of steps (an integer) or a share of all steps (0.0..1.0), not {warmup}."
            )
        if not 0 <= min_lr_ratio <= 1:
            raise UserError(f"min_lr_ratio is a share of the learning rate, 0..1, not {min_lr_ratio}.")
        self.total_steps, self.min_lr_ratio = total_steps, min_lr_ratio
        self.warmup_steps = round(warmup * total_steps) if isinstance(warmup, float) else warmup
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [base * self._factor() for base in self.base_lrs]

    def _factor(self) -> float:
        step = min(self.last_epoch, self.total_steps)
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        done = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return self.min_lr_ratio + (1 - self.min_lr_ratio) * (1 + math.cos(math.pi * done)) / 2

    def state_dict(self) -> dict[str, Any]:
        curve = ("total_steps", "warmup_steps", "min_lr_ratio")
        return {name: value for name, value in super().state_dict().items() if name not in curve}


class Lookahead(Optimizer):
    """Lookahead (https://arxiv.org/abs/1907.08610) around any optimizer: k steps forward, one step back.

    The inner optimizer moves the fast weights, which the network holds. After every k steps the slow weights move the
    share alpha of the way to them, and the fast weights start again from there; the inner optimizer keeps its
    momentum. Between those steps the network, and so a checkpoint, holds fast weights, and the optimizer's state holds
    the slow ones.

    Own code: timm's and pytorch_optimizer's wrap an optimizer that is already built, which no config can name, and keep
    the slow weights apart from its state. Here both optimizers share `state` and `param_groups`, so that schedules,
    gradient scaling, clipping and resuming meet one optimizer like any of torch's.

    Args:
        params: parameters or groups of parameters.
        optimizer: makes the inner optimizer from them.
        k: steps from one synchronisation to the next.
        alpha: share of the way that the slow weights move, above 0 to 1; 1 is the inner optimizer alone.

    Raises:
        UserError: k or alpha is out of range.
    """

    def __init__(
        self, params: Iterable, optimizer: Callable[[Iterable], Optimizer], k: int = 5, alpha: float = 0.5
    ) -> None:
        if k < 1 or not 0 < alpha <= 1:
            raise UserError(f"Lookahead takes k from 1 and alpha above 0 up to 1, not k={k} and alpha={alpha}.")
        self.optimizer = optimizer(params)
        options = {"lookahead_k": k, "lookahead_alpha": alpha, "lookahead_step": 0}
        # Adds the options to the inner optimizer's groups.
        super().__init__(self.optimizer.param_groups, {**self.optimizer.defaults, **options})
        self.param_groups, self.state = self.optimizer.param_groups, self.optimizer.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of the inner optimizer, and a synchronisation if it is time. Returns the closure's loss."""
        # Optimizers tell a parameter's first step by its empty state, so its slow weights go there only afterwards.
        starts = {
            parameter: parameter.clone()
            for group in self.param_groups
            for parameter in group["params"]
            if "slow" not in self.state.get(parameter, ())
        }
        # torch's optimizers enable gradients for the closure themselves.
        loss = self.optimizer.step(closure)
        for group in self.param_groups:
            # Where a closure has no gradient to give, the parameter has not moved: it starts at a later step.
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
        # Also the end of load_state_dict, with a new state and new groups for both optimizers.
        super().__setstate__(state)
        self.optimizer.__setstate__({"state": self.state, "param_groups": self.param_groups})
