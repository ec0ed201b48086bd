"""The files that `predict` leaves: predictions.csv, the five best answers for each image, and predictions.html."""

import itertools
import sys
from contextlib import ExitStack
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from tiny_imagenet.callbacks.gather import gather_by_row
from tiny_imagenet.data import DatasetInfo
from tiny_imagenet.data.batches.loader import Batch
from tiny_imagenet.data.images.unreadable import write_list
from tiny_imagenet.files import replace_csv
from tiny_imagenet.progress import progress, say
from tiny_imagenet.run.class_names import first_synonym

UNREADABLE = "unreadable.csv"
FEW, BEST = 10, 3  # images whose best answers are printed, and how many of each
THUMBNAILS = 200  # images that the page shows, the first


class Predictions(Callback):
    """Writes `predictions.csv` into the folder of the checkpoint's run: file, five best ids, names, probabilities.

    `predictions.html` shows thumbnails of the first images. Earlier files are kept under another name. The best answers
    of a few images are printed as well. `unreadable` then says why images could not be read, by name, and
    `unreadable.csv` lists them.
    """

    def __init__(self) -> None:
        self.unreadable: dict[str, str] = {}
        self._lines, self._advance = ExitStack(), None
        # By row: which images this rank asked for, which it could read, and their best labels and probabilities. Many
        # small arrays instead would scatter over the heap, which could then not be reused: 120 MB for 100,000 images.
        self._asked, self._read, self._best = np.empty(0, bool), np.empty(0, bool), np.empty((0, 0, 2), np.float32)
        self._seen: list[np.ndarray] = []  # pixels of the first images

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        images = len(trainer.datamodule.sets["predict"])
        self._asked, self._read = np.zeros(images, bool), np.zeros(images, bool)
        self._seen = []
        self._best = np.zeros((images, min(5, len(pl_module.info.class_ids)), 2), np.float32)  # exact for labels too
        # On a terminal, `Progress` shows a bar.
        if trainer.is_global_zero and not sys.stderr.isatty():
            self._advance = self._lines.enter_context(progress("predicting", images, "images"))

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._advance:
            self._advance(len(batch.rows) * trainer.world_size)
        best = outputs.topk(self._best.shape[1], dim=1)
        rows = batch.targets.cpu().numpy()
        self._asked[batch.rows.cpu().numpy()] = self._read[rows] = True
        self._best[rows] = np.stack([best.indices.cpu().numpy(), best.values.cpu().numpy()], axis=2)
        if (room := THUMBNAILS - sum(map(len, self._seen))) > 0:
            # To read files again would take as long as to predict them.
            self._seen.append(_levels(batch.images[:room], pl_module.info))

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._lines.close()
        images, info = trainer.datamodule.sets["predict"], pl_module.info
        asked, rows = np.flatnonzero(self._asked), np.flatnonzero(self._read)
        best = gather_by_row(rows, self._best[rows])
        seen = np.concatenate(self._seen)
        seen = gather_by_row(rows[: len(seen)], seen)
        asked, rows = gather_by_row(asked, asked), gather_by_row(rows, rows)
        self.unreadable = {images.names[row]: images.why_unreadable(row) for row in np.setdiff1d(asked, rows)}
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        # Imported here, since the report's libraries take half a second that no other command needs.
        from tiny_imagenet.callbacks.prediction_page import write_page

        numbers = range(1, best.shape[1] + 1)
        columns = ["file", *(f"{column}{number}" for number in numbers for column in ("id", "name", "p"))]
        folder = Path(trainer.default_root_dir)
        path, page = folder / "predictions.csv", folder / "predictions.html"
        kept = _keep(path)
        _keep(page)
        lines = (_line(images.names[row], answers, info) for row, answers in zip(rows, best, strict=True))
        replace_csv(path, columns, lines)
        names = [images.names[row] for row in rows[:THUMBNAILS]]
        write_page(page, names, seen[:THUMBNAILS], best, info, self.unreadable)
        write_list(self.unreadable, folder / UNREADABLE)
        if len(rows) <= FEW:
            for row, answers in zip(rows, best, strict=True):
                say(f"{images.names[row]}: {_answers_text(answers, info)}")
        earlier = f" (earlier ones: {kept})" if kept else ""
        say(f"{len(rows):,} prediction{'s' * (len(rows) != 1)}: {path}{earlier}\n  with thumbnails: {page}")


def _levels(images: Tensor, info: DatasetInfo) -> np.ndarray:
    """Normalised images [B, 3, H, W] as they were before, uint8 [B, H, W, 3]."""
    mean, std = info.mean_std(images.device)
    pixels = (images.permute(0, 2, 3, 1).float() * std + mean) * 255
    return pixels.round().clamp(0, 255).byte().cpu().numpy()


def _keep(path: Path) -> Path | None:
    """Rename an earlier file to the next free number, predictions_1.csv; None where there is none."""
    if not path.exists():
        return None
    numbers = itertools.count(1)
    kept = next(each for n in numbers if not (each := path.with_name(f"{path.stem}_{n}{path.suffix}")).exists())
    return path.rename(kept)


def _answers_text(answers: np.ndarray, info: DatasetInfo) -> str:
    """goldfish 92.1 %, tench 3.0 %, axolotl 1.2 %"""
    best = ((int(label), probability) for label, probability in answers[:BEST])
    return ", ".join(
        f"{first_synonym(info.class_ids[label], info.class_names[label])} {100 * probability:.1f} %"
        for label, probability in best
    )


def _line(file: str, answers: np.ndarray, info: DatasetInfo) -> dict[str, str]:
    line = {"file": file}
    for number, (label, probability) in enumerate(answers, start=1):
        line[f"id{number}"] = info.class_ids[int(label)]
        line[f"name{number}"] = info.class_names[int(label)]
        line[f"p{number}"] = f"{probability:.6f}"
    return line
