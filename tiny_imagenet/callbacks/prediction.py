"""What `predict` leaves: predictions.csv, the five best answers for each image."""

import logging
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from tiny_imagenet.callbacks.gather import gathered_rows
from tiny_imagenet.data.batches.sampler import rows_of_batches
from tiny_imagenet.files import replace_csv

log = logging.getLogger(__name__)


class Predictions(Callback):
    """Writes `predictions.csv` into the run folder of the checkpoint: file, five best ids, names, probabilities.

    `skipped` then holds, for each image that could not be read, the reason.
    """

    def __init__(self) -> None:
        self.skipped: list[str] = []
        self._rows: list[np.ndarray] = []
        self._best: list[np.ndarray] = []

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: tuple[Tensor, Tensor],
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        rows, probabilities = outputs
        best = probabilities.topk(min(5, probabilities.shape[1]), dim=1)
        self._rows.append(rows.cpu().numpy())
        self._best.append(np.stack([best.indices.cpu().numpy(), best.values.cpu().numpy()], axis=2))

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data, info = trainer.datamodule, pl_module.info
        rows, images = np.concatenate(self._rows), data.sets["predict"]
        asked = rows_of_batches(len(images), data.batch_size, len(self._rows), trainer.global_rank, trainer.world_size)
        best, asked, rows = (
            gathered_rows(rows, np.concatenate(self._best)), gathered_rows(asked, asked), gathered_rows(rows, rows),
        )  # fmt: skip
        self.skipped = [images.why_unreadable(row) for row in np.setdiff1d(asked, rows)]
        if not trainer.is_global_zero:
            return
        numbers = range(1, best.shape[1] + 1)
        columns = ["file", *(f"{column}{number}" for number in numbers for column in ("id", "name", "p"))]
        path = Path(trainer.default_root_dir) / "predictions.csv"
        replace_csv(
            path, columns, (_line(images.names[row], answers, info) for row, answers in zip(rows, best, strict=True))
        )
        print(f"{len(rows):,} predictions: {path}")


def _line(file: str, answers: np.ndarray, info: object) -> dict[str, str]:
    line = {"file": file}
    for number, (label, probability) in enumerate(answers, start=1):
        line[f"id{number}"] = info.class_ids[int(label)]
        line[f"name{number}"] = info.class_names[int(label)]
        line[f"p{number}"] = f"{probability:.6f}"
    return line
