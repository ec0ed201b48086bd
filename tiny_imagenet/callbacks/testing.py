"""The files that testing leaves in the run's folder: test_metrics.json, per_class.csv, confusion.csv, examples.png."""

import io
import json
import logging
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from tiny_imagenet.callbacks.gather import gather_by_row
from tiny_imagenet.callbacks.progress import result_line
from tiny_imagenet.data.batches.loader import Batch
from tiny_imagenet.files import csv_text, replace_together
from tiny_imagenet.progress import say
from tiny_imagenet.run.history import shortest_float
from tiny_imagenet.run.metric_names import STAGES
from tiny_imagenet.run.result_tables import (
    CONFUSION_COLUMNS,
    PER_CLASS_COLUMNS,
    confusion_cells,
    confusion_counts,
    per_class,
)

log = logging.getLogger(__name__)


class TestResults(Callback):
    """Writes the results of a test into the folder of the checkpoint's run, each image counted once over all ranks.

    All four files or none; `test_metrics.json` comes last, so that where it is, the others are of the same test.
    """

    __test__ = False  # not a test of pytest's, despite its name

    def __init__(self) -> None:
        self._answers: list[Tensor] = []

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._answers = []

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        best = outputs.topk(min(5, outputs.shape[1]), dim=1).indices
        # Row, target and best answers of each image; kept on the device, not to wait for it.
        self._answers.append(torch.cat([batch.rows[:, None], batch.targets[:, None], best], dim=1))

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        found, images = torch.cat(self._answers).cpu().numpy(), len(trainer.datamodule.sets["test"])
        answers = gather_by_row(found[:, 0], found[:, 1:])
        if trainer.is_global_zero:
            if len(answers) < images and not trainer.fast_dev_run:
                log.warning(
                    f"Only {len(answers):,} of the {images:,} test images were tested (--trainer.limit_test_batches); "
                    "all files of this test are about those."
                )
            say(result_line("test", trainer.callback_metrics, len(answers), len(pl_module.info.class_ids)))
            if trainer.fast_dev_run:
                return
            metrics = {name: shortest_float(trainer.callback_metrics[f"test/{name}"]) for name in STAGES["test"]}
            self._write(trainer, pl_module, metrics, answers[:, 0], answers[:, 1:])

    def _write(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        metrics: dict[str, float],
        targets: np.ndarray,
        answers: np.ndarray,
    ) -> None:
        # Imported here, since matplotlib takes half a second that no other command needs.
        from tiny_imagenet.callbacks.pictures import confusion_figure, examples_figure

        folder, ids, names = Path(trainer.default_root_dir), pl_module.info.class_ids, pl_module.info.class_names
        classes = list(per_class(targets, answers, ids, names))
        counts = confusion_counts(targets, answers[:, 0], len(ids))
        figure = examples_figure(trainer.datamodule.sets["test"], targets, answers[:, 0], classes)
        picture = io.BytesIO()
        figure.savefig(picture, dpi=75)
        replace_together(
            folder,
            {
                "per_class.csv": csv_text(PER_CLASS_COLUMNS, classes),
                "confusion.csv": csv_text(CONFUSION_COLUMNS, confusion_cells(counts, ids, names)),
                "examples.png": picture.getvalue(),
                "test_metrics.json": json.dumps({**metrics, "images": len(targets)}, indent=2) + "\n",
            },
        )
        say(f"  {folder}: test_metrics.json, per_class.csv, confusion.csv, examples.png")
        if isinstance(trainer.logger, pl.loggers.TensorBoardLogger):
            trainer.logger.experiment.add_figure(
                "test/confusion", confusion_figure(counts, ids, names), trainer.global_step
            )
            trainer.logger.experiment.add_figure("test/examples", figure, trainer.global_step)
