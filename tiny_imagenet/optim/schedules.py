"""Learning-rate schedules that know the number of steps."""

import inspect
import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from tiny_imagenet.errors import UserError


def build_scheduler(
    scheduler: Callable[..., LRScheduler], optimizer: Optimizer, total_steps: int | None
) -> LRScheduler:
    """Build a schedule, with the training's number of steps if it takes `total_steps` and the config sets none.

    Args:
        scheduler: a class, a function, or what jsonargparse makes of `class_path` and `init_args`: a
            functools.partial that hides the class, and has all of its arguments as keywords.
        total_steps: None if the schedule advances by epochs.

    Raises:
        UserError: the schedule refuses its arguments, or needs a metric to watch and has none.
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
    https://arxiv.org/abs/1608.03983; warm-up as in https://arxiv.org/abs/1706.02677). From step T on it is constant.

    A checkpoint holds only the position: a training resumed with another number of steps follows the new curve.

    Args:
        total_steps: optimizer steps of the whole training; ImageClassifier sets them if `scheduler_interval` is step.
        warmup: number of steps, or as a float a fraction of all steps, 0..1. A shorter training ends in its warm-up.
        min_lr_ratio: final learning rate as a fraction of the highest, 0..1.

    Raises:
        UserError: an argument is out of range, or total_steps is missing.
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
            raise UserError("WarmupCosine needs the number of steps: set model.scheduler_interval: step.")
        if warmup < 0 or (isinstance(warmup, float) and warmup > 1):
            raise UserError(
                f"warmup must be a number of steps (an integer) or a fraction of all steps (0.0..1.0), not {warmup}."
            )
        if not 0 <= min_lr_ratio <= 1:
            raise UserError(f"min_lr_ratio must be a fraction of the learning rate, 0..1, not {min_lr_ratio}.")
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
