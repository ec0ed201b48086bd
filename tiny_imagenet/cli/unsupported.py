"""Trainer options and callbacks that this project does not support, refused before anything begins."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import callbacks
from lightning.pytorch.callbacks import Callback

from tiny_imagenet.errors import UserError, did_you_mean
from tiny_imagenet.run.metric_names import OF_EPOCH, is_learning_rate

OTHER_WEIGHTS = ("64", "64-true", "bf16-true", "16-true", "transformer-engine", "transformer-engine-float16")

# Callbacks of Lightning's whose state is not in a checkpoint, or which train before the training, and what to use.
NOT_RESUMABLE = {
    callbacks.StochasticWeightAveraging: "EMA averages the weights, and resumes exactly.",
    callbacks.GradientAccumulationScheduler: "Set trainer.accumulate_grad_batches, which is the same throughout.",
    callbacks.BaseFinetuning: "model.freeze with model.unfreeze_at trains layers after so many epochs.",
    callbacks.ModelPruning: "For a smaller network set model.width or model.blocks.",
    callbacks.LearningRateFinder: "configs/sweeps/learning_rate.yaml compares learning rates.",
    callbacks.BatchSizeFinder: "configs/sweeps/batch_size.yaml compares batch sizes.",
}


def require_supported_options(trainer: Mapping[str, Any]) -> None:
    """Raise UserError where an option of the Trainer would leave out what a run needs, or is a count below 1."""
    if trainer["barebones"]:
        raise UserError(
            "trainer.barebones would leave out the checkpoints and metrics of this project; leave it off. To measure "
            "the speed: python -m tiny_imagenet.benchmark"
        )
    if trainer["enable_checkpointing"] is False:
        raise UserError(
            "trainer.enable_checkpointing: a run without checkpoints cannot be resumed or tested; leave it on. To try "
            "out a run that keeps nothing: --trainer.fast_dev_run true"
        )
    if str(precision := trainer["precision"]) in OTHER_WEIGHTS:
        raise UserError(
            f"trainer.precision: {precision} keeps the weights in another type than the images have. Use 32-true, "
            "bf16-mixed or 16-mixed."
        )
    for option, instead in (
        ("use_distributed_sampler", "They divide the images between devices themselves."),
        ("overfit_batches", "For fewer images set trainer.limit_train_batches."),
    ):
        if trainer[option]:
            raise UserError(f"trainer.{option} would replace the samplers of this project; leave it off. {instead}")
    for option in ("accumulate_grad_batches", "check_val_every_n_epoch"):
        if trainer[option] is not None and trainer[option] < 1:
            raise UserError(f"trainer.{option} must be at least 1, not {trainer[option]}.")


def require_supported_callbacks(used: Sequence[Callback], schedule: Mapping[str, Any]) -> None:
    """Refuse callbacks that cannot be resumed exactly, or that watch a metric which nothing logs, or its worst value.

    Args:
        used: the training's callbacks.
        schedule: arguments of its learning-rate schedule.

    Raises:
        UserError: a callback cannot be resumed, or takes the worst value of a metric for the best, or nothing logs a
            metric that is watched. (A callback that is neither Lightning's nor this project's may log it, and then the
            metric is not checked.)
    """
    monitors = [("model.scheduler", schedule.get("monitor"), schedule.get("mode", "min"))]
    for callback in used:
        watched = (getattr(callback, "monitor", None), getattr(callback, "mode", None))
        monitors.append((type(callback).__name__, *watched))
        for kind, instead in NOT_RESUMABLE.items():
            if isinstance(callback, kind):
                raise UserError(
                    f"trainer.callbacks: a run with {type(callback).__name__} cannot be resumed exactly. {instead}"
                )
    for where, metric, mode in monitors:
        better = {"loss": "min", "top1": "max", "top5": "max"}.get(str(metric).rpartition("/")[2], mode)
        if metric in OF_EPOCH and mode in ("min", "max") and mode != better:
            raise UserError(
                f"{where}: with mode {mode}, the worst {metric} would count as the best. Set mode {better}."
            )
    if not all(type(callback).__module__.startswith(("lightning.", "tiny_imagenet.")) for callback in used):
        return
    for where, metric, _ in monitors:
        if metric is not None and metric not in OF_EPOCH and not is_learning_rate(metric):
            near = did_you_mean(metric, OF_EPOCH, listed=len(OF_EPOCH))
            raise UserError(f"{where}: nothing logs the metric {metric!r}.{near}")
