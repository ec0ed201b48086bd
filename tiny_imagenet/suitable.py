"""What a training refuses before it begins: metrics that nobody logs, and callbacks that cannot be resumed."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from lightning.pytorch import callbacks
from lightning.pytorch.callbacks import Callback

from tiny_imagenet.errors import UserError

# Those of metrics.csv, and one more.
METRICS = (
    "train/loss", "train/top1", "val/loss", "val/top1", "val/top5", "lr", "seconds", "images_per_s", "memory",
    "train/loss_step",
)  # fmt: skip

# Lightning's callbacks whose state a checkpoint does not hold, or that train before the training, and what to do.
NOT_RESUMABLE = {
    callbacks.StochasticWeightAveraging: "EMA averages the weights, and resumes exactly.",
    callbacks.GradientAccumulationScheduler: "trainer.accumulate_grad_batches is the same throughout.",
    callbacks.LearningRateFinder: "configs/sweeps/learning_rate.yaml compares learning rates.",
    callbacks.BatchSizeFinder: "configs/sweeps/batch_size.yaml compares batch sizes.",
}


def require_suitable(used: Iterable[Callback], schedule: Mapping[str, Any]) -> None:
    """Refuse what would make a resumed training another than an uninterrupted one, or watches what nobody logs.

    Args:
        used: the training's callbacks.
        schedule: arguments of its learning-rate schedule.

    Raises:
        UserError: a callback cannot be resumed, or a metric to watch is a misspelt one of METRICS. (Others might be a
            callback's own.)
    """
    monitors = {"model.scheduler": schedule.get("monitor")}
    for callback in used:
        monitors[type(callback).__name__] = getattr(callback, "monitor", None)
        for kind, instead in NOT_RESUMABLE.items():
            if isinstance(callback, kind):
                raise UserError(f"trainer.callbacks: with {kind.__name__} no run could be resumed exactly. {instead}")
    for where, metric in monitors.items():
        near = difflib.get_close_matches(metric or "", METRICS, n=3, cutoff=0.6)
        if near and metric not in METRICS:
            raise UserError(f"{where}: nothing logs the metric {metric!r}. Did you mean {' or '.join(near)}?")
