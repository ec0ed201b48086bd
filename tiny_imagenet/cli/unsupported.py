"""What is refused before anything begins: the Trainer's options and callbacks that this project cannot do with."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import callbacks
from lightning.pytorch.callbacks import Callback

from tiny_imagenet.errors import UserError

# All that is logged of an epoch, where no callback of the user's own logs more.
METRICS = (
    "train/loss", "train/top1", "val/loss", "val/top1", "val/top5", "lr", "seconds", "images_per_s", "memory",
)  # fmt: skip

# Lightning's callbacks whose state a checkpoint does not hold, or that train before the training, and what to do.
NOT_RESUMABLE = {
    callbacks.StochasticWeightAveraging: "EMA averages the weights, and resumes exactly.",
    callbacks.GradientAccumulationScheduler: "trainer.accumulate_grad_batches is the same throughout.",
    callbacks.LearningRateFinder: "configs/sweeps/learning_rate.yaml compares learning rates.",
    callbacks.BatchSizeFinder: "configs/sweeps/batch_size.yaml compares batch sizes.",
}


def require_options(trainer: Mapping[str, Any]) -> None:
    """Raise UserError where an option of the Trainer's would replace the samplers, or is a count below 1."""
    for option, instead in (
        ("use_distributed_sampler", "They divide the images between devices themselves."),
        ("overfit_batches", "For fewer images set trainer.limit_train_batches."),
    ):
        if trainer[option]:
            raise UserError(f"trainer.{option} would replace the samplers of this project; leave it off. {instead}")
    for option in ("accumulate_grad_batches", "check_val_every_n_epoch"):
        if trainer[option] is not None and trainer[option] < 1:
            raise UserError(f"trainer.{option} must be at least 1, not {trainer[option]}.")


def require_callbacks(used: Sequence[Callback], schedule: Mapping[str, Any]) -> None:
    """Refuse what would make a resumed training another than an uninterrupted one, or watches what nobody logs.

    Args:
        used: the training's callbacks.
        schedule: arguments of its learning-rate schedule.

    Raises:
        UserError: a callback cannot be resumed, or nothing logs a metric that is to be watched. (A callback that is not
            Lightning's or this project's might, and then nothing is refused.)
    """
    monitors = {"model.scheduler": schedule.get("monitor")}
    for callback in used:
        monitors[type(callback).__name__] = getattr(callback, "monitor", None)
        for kind, instead in NOT_RESUMABLE.items():
            if isinstance(callback, kind):
                raise UserError(f"trainer.callbacks: with {kind.__name__} no run could be resumed exactly. {instead}")
    if not all(type(callback).__module__.startswith(("lightning.", "tiny_imagenet.")) for callback in used):
        return
    for where, metric in monitors.items():
        if metric is not None and metric not in METRICS and not metric.startswith("lr-"):  # LearningRateMonitor's
            near = difflib.get_close_matches(metric, METRICS, n=3, cutoff=0.6) or METRICS
            raise UserError(f"{where}: nothing logs the metric {metric!r}. Did you mean {' or '.join(near)}?")
