"""How many optimizer steps a training takes, by its epochs, batches and accumulation."""

import math
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl

from tiny_imagenet.errors import UserError
from tiny_imagenet.run.lightning_internals import batches_trained_before


def total_steps(trainer: pl.Trainer) -> int:
    """Optimizer steps of the whole training.

    Not Trainer.estimated_stepping_batches, which builds the training loader before a checkpoint has restored the
    position that the loader starts from.

    Raises:
        UserError: the training has no end.
    """
    if trainer.max_epochs == -1:
        if trainer.max_steps == -1:
            raise UserError(
                "A schedule that advances by steps needs the length of the training: set --trainer.max_epochs or "
                "--trainer.max_steps."
            )
        return trainer.max_steps
    steps = trainer.max_epochs * _steps_of(trainer.datamodule.steps_per_epoch, trainer)
    return steps if trainer.max_steps == -1 else min(steps, trainer.max_steps)


def total_steps_from(checkpoint: Mapping[str, Any], trainer: pl.Trainer) -> int:
    """Optimizer steps of a training that is resumed: those done, and those left, each of as many batches as now.

    Args:
        checkpoint: what it resumes from.
    """
    batches, done = trainer.datamodule.steps_per_epoch, checkpoint["global_step"]
    if trainer.max_epochs == -1:
        return total_steps(trainer)
    epochs, within = divmod(batches_trained_before(checkpoint), batches)
    left = _steps_of(batches - within, trainer) + (trainer.max_epochs - epochs - 1) * _steps_of(batches, trainer)
    steps = done + max(0, left)
    return steps if trainer.max_steps == -1 else max(done, min(steps, trainer.max_steps))


def _steps_of(batches: int, trainer: pl.Trainer) -> int:
    """Optimizer steps of so many batches of an epoch."""
    return math.ceil(batches / trainer.accumulate_grad_batches)
