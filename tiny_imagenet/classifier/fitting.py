"""Whether a checkpoint fits: the network that it asks for, and the training that is to resume from it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import WeightAveraging

from tiny_imagenet.classifier.length import total_steps_from
from tiny_imagenet.data import DatasetInfo
from tiny_imagenet.errors import MISFIT, UserError, legible
from tiny_imagenet.models import TooLarge
from tiny_imagenet.run.checkpoint_files import require_known_format, require_same_training


def dataset_of(checkpoint: Mapping[str, Any]) -> DatasetInfo:
    """The data set that a checkpoint's network was trained on.

    Raises:
        UserError: the checkpoint is not of this project, or of a later version of it.
    """
    require_known_format("This checkpoint", checkpoint)
    if "dataset" not in checkpoint:
        raise UserError("This checkpoint was not written by this project: it does not name its classes.")
    return DatasetInfo(**checkpoint["dataset"])


def require_same_network(checkpoint: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Refuse weights of another stem or downsampling, which may have the same shapes.

    Args:
        options: the model's, by their names.

    Raises:
        UserError: the checkpoint was trained with another.
    """
    before = {"downsampling": "stride"} | checkpoint.get("hyper_parameters", {})  # there was no choice at first
    for name in ("stem", "downsampling"):
        trained = str(before.get(name, options[name]))
        if trained != options[name]:
            raise UserError(
                f"The checkpoint was trained with model.{name} {legible(trained[:40])}, not {options[name]}: leave out "
                f"--model.{name}."
            )


@contextmanager
def no_larger_than(checkpoint: Mapping[str, Any]) -> Iterator[int]:
    """Yield how many values a checkpoint has, so that a small file does not ask for a network that no memory holds.

    Raises:
        UserError: the body raised TooLarge, for more parameters.
    """
    values = sum(tensor.numel() for tensor in checkpoint["state_dict"].values())
    try:
        yield values
    except TooLarge as error:
        if error.parameters <= values:  # than `max_parameters`
            raise
        found = f"it has {values:,} values, and the network {error.parameters:,} parameters"
        raise UserError(MISFIT.format(found)) from error


def require_resumable_by(trainer: pl.Trainer, checkpoint: Mapping[str, Any], by_steps: bool) -> None:
    """Raise UserError if a training cannot be resumed exactly from a checkpoint.

    Args:
        by_steps: whether its schedule advances every step.
    """
    if "averaging_state" in checkpoint and not any(isinstance(c, WeightAveraging) for c in trainer.callbacks):
        raise UserError(
            "The checkpoint has averaged weights, which would be lost, since no callback averages them now. Add the "
            "run's callback again, such as --trainer.callbacks+=EMA, or start a new run with --model.weights."
        )
    data = trainer.datamodule
    before = checkpoint.get(type(data).__qualname__)
    steps = total_steps_from(checkpoint, trainer) if by_steps else None
    require_same_training(checkpoint, before, data.state_dict(), steps)
