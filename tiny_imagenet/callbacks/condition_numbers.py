"""The condition numbers of the weights during a training."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from tiny_imagenet.errors import UserError
from tiny_imagenet.files import replace_csv
from tiny_imagenet.models.condition_numbers import condition_numbers, weights_of


class ConditionNumbers(Callback):
    """Writes σmax/σmin of every convolution and linear weight to `condition_numbers.csv` and TensorBoard.

    The file is replaced as a whole, and its rows are in the checkpoints, so that it has no gap after a resume.

    Args:
        every_n_epochs: how often; the first time is after the first epoch.
    """

    def __init__(self, every_n_epochs: int = 1) -> None:
        if every_n_epochs < 1:
            raise UserError(f"ConditionNumbers.every_n_epochs must be at least 1, not {every_n_epochs}.")
        self.every_n_epochs = every_n_epochs
        self._rows: list[dict[str, Any]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(trainer)  # on_train_start is not called for a training that is already finished

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch
        if epoch % self.every_n_epochs or not trainer.is_global_zero:
            return
        numbers = condition_numbers(weights_of(pl_module.network))
        self._rows += [{"epoch": epoch, "layer": name, "condition_number": value} for name, value in numbers.items()]
        self._write(trainer)
        if isinstance(trainer.logger, TensorBoardLogger):
            for name, value in numbers.items():
                trainer.logger.experiment.add_scalar(f"weights/condition_number/{name}", value, trainer.global_step)

    def _write(self, trainer: pl.Trainer) -> None:
        if self._rows and trainer.is_global_zero:
            path = Path(trainer.default_root_dir) / "condition_numbers.csv"
            replace_csv(path, ["epoch", "layer", "condition_number"], self._rows)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self._rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._rows = state_dict["rows"]
