"""What a user sees of a run: the machine and data, a live bar, a line an epoch, and the result."""

import math
import os
import shutil
import sys
import time
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from tiny_imagenet.progress import duration_text, loss_text, say
from tiny_imagenet.run import lightning_internals
from tiny_imagenet.run.best_epoch import best_row
from tiny_imagenet.run.checkpointing import RunCheckpoint
from tiny_imagenet.run.metric_names import IMAGE_SIZE, STAGES, is_accuracy, shown

FEW_CLASSES = 5  # with which top-5 is always 100 %
BAR = "{desc} |{bar:20}| {n_fmt}/{total_fmt}{tail}"  # fits 80 columns
STAGE_NAMES = {"train": "training", "val": "validation", "test": "test"}
SETS = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}  # that a command uses


class Progress(Callback):
    """Prints one line about the machine and the data, one an epoch, and one about the result; below them, a live bar.

    Args:
        bar: whether to show the bar, such as on a terminal.
    """

    SECONDS = 1.0  # from one reading of the loss to the next: it waits for the device
    REFRESH = 0.2  # seconds from one drawing of the bar to the next

    def __init__(self, bar: bool = False) -> None:
        self.bar = bar
        self._tqdm: _Bar | None = None
        self._started, self._first_batch, self._printed = 0.0, 0, 0
        self._loss, self._read_at = "", -math.inf

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if trainer.is_global_zero:
            say(f"{_machine(trainer)}; {_images(trainer.datamodule, trainer.state.fn)}")

    # Training

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started, self._first_batch = time.monotonic(), lightning_internals.batches_trained(trainer)
        self._printed = len(_rows(trainer))
        epochs, batches = trainer.max_epochs, trainer.datamodule.steps_per_epoch
        if trainer.is_global_zero and self._first_batch and trainer.current_epoch != epochs:
            epoch, batch = divmod(self._first_batch, batches)
            within = f", step {batch + 1} of {batches}" if batch else ""
            say(f"Resuming at epoch {epoch + 1}{_of(epochs, ' of ')}{within}.")
        every = trainer.check_val_every_n_epoch
        if trainer.is_global_zero and every and trainer.enable_validation and epochs != -1 and epochs % every:
            say(
                f"The last epoch will not be validated: trainer.max_epochs {epochs} is not a multiple of "
                f"trainer.check_val_every_n_epoch {every}."
            )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._print_finished_epochs(trainer)
        self._open_epoch(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._tqdm is None or not self._tqdm.update():
            return
        if time.monotonic() - self._read_at >= self.SECONDS:
            # Lightning has divided it by the number of accumulated batches.
            self._loss = loss_text(outputs["loss"].item() * trainer.accumulate_grad_batches)
            self._read_at = time.monotonic()
        left = self._seconds_left(trainer)
        self._tqdm.tail = f"  loss {self._loss}" + (f"  {duration_text(left)} left" if left is not None else "")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()
        self._print_finished_epochs(trainer)
        best = _best_line(trainer)
        if trainer.is_global_zero and best:
            seconds = sum(row["seconds"] for row in _rows(trainer) if "seconds" in row)
            say(f"{best} in {duration_text(seconds)}.")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close()

    def _open_epoch(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero:
            batches = trainer.datamodule.steps_per_epoch
            done = lightning_internals.batches_trained(trainer) % batches
            self._open(f"epoch {trainer.current_epoch + 1}{_of(trainer.max_epochs, '/')}", batches, done)

    def _print_finished_epochs(self, trainer: pl.Trainer) -> None:
        # An epoch's row is complete only after the last hook of its end, so it is printed when the next one starts.
        rows = _rows(trainer)
        self._close()
        if trainer.is_global_zero:
            few = len(trainer.datamodule.info.class_ids) <= FEW_CLASSES
            columns = shutil.get_terminal_size().columns if self.bar else None
            for row in rows[self._printed :]:
                left = None if self.bar else self._seconds_left(trainer)
                say(epoch_line(row, trainer.max_epochs, left, few, columns))
        self._printed = len(rows)

    def _seconds_left(self, trainer: pl.Trainer) -> float | None:
        """Of the whole training, validations included; None if it has no end, or just began."""
        data, epochs, done = trainer.datamodule, trainer.max_epochs, lightning_internals.batches_trained(trainer)
        if epochs in (None, -1) or done == self._first_batch:
            return None
        # A step takes about as long as its images have pixels.
        reached = (self._first_batch / data.steps_per_epoch, done / data.steps_per_epoch, epochs)
        first, now, end = (data.pipeline.pixels_until(epoch, epochs) for epoch in reached)
        return (end - now) * (time.monotonic() - self._started) / (now - first)

    # Evaluation

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin_evaluation(trainer, "validating", trainer.num_val_batches)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin_evaluation(trainer, "testing", trainer.num_test_batches)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin_evaluation(trainer, "predicting", trainer.num_predict_batches)

    def _begin_evaluation(self, trainer: pl.Trainer, what: str, batches: list[int | float]) -> None:
        if trainer.is_global_zero:
            self._close()
            self._open(what, int(sum(batches)), 0)

    def _advance(self, *args: Any, **kwargs: Any) -> None:
        if self._tqdm is not None:
            self._tqdm.update()

    on_validation_batch_end = on_test_batch_end = on_predict_batch_end = _advance

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()
        if trainer.state.fn == "fit":
            if lightning_internals.batches_trained(trainer) % trainer.datamodule.steps_per_epoch:
                self._open_epoch(trainer)  # validated within it
        elif trainer.is_global_zero:
            images = len(trainer.datamodule.sets["val"]) if trainer.limit_val_batches == 1.0 else None
            say(result_line("val", trainer.callback_metrics, images, len(pl_module.info.class_ids)))

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    # The bar

    def _open(self, what: str, total: int, done: int) -> None:
        self._tqdm = _Bar(
            total=total, initial=done, desc=what, bar_format=BAR, leave=False, disable=not self.bar, dynamic_ncols=True,
            file=sys.stderr, mininterval=self.REFRESH,
        )  # fmt: skip

    def _close(self) -> None:
        if self._tqdm is not None:
            self._tqdm.close()
            self._tqdm = None


class _Bar(tqdm):
    tail = ""

    @property
    def format_dict(self) -> dict[str, Any]:
        return {**super().format_dict, "tail": self.tail}


def epoch_line(
    row: dict[str, float],
    epochs: int | None,
    seconds_left: float | None,
    few_classes: bool = False,
    columns: int | None = None,
) -> str:
    """A row of metrics.csv in one line: losses, accuracies in percent, images/s, time left.

    Args:
        row: as in metrics.csv; metrics that it lacks are left out.
        epochs: of the whole training; None or -1 for one without an end.
        few_classes: whether to leave out top-5.
        columns: width of the terminal, where there is one: images/s and then top-5 are left out of a longer line.
    """
    for without_top5, without_speed in ((few_classes, False), (few_classes, True), (True, True)):
        parts = [f"epoch {int(row['epoch']) + 1}{_of(epochs, '/')}"]
        for stage in ("train", "val"):
            metrics = {name: row[f"{stage}/{name}"] for name in STAGES[stage] if f"{stage}/{name}" in row}
            if metrics:
                parts.append(f"{stage} {_metrics_text(metrics, without_top5, ' ')}")
        if "images_per_s" in row and not without_speed:
            parts.append(f"{row['images_per_s']:,.0f} images/s")
        if seconds_left:
            parts.append(f"{duration_text(seconds_left)} left")
        line = " | ".join(parts)
        if columns is None or len(line) <= columns:
            break
    return line


def result_line(stage: str, metrics: Mapping[str, torch.Tensor], images: int | None, classes: int) -> str:
    """The result of an evaluation in one line: test top-1 14.4 %, top-5 57.8 %, loss 2.283 (500 images)."""
    named = {name: float(metrics[f"{stage}/{name}"]) for name in STAGES[stage] if f"{stage}/{name}" in metrics}
    accuracies_first = dict(sorted(named.items(), key=lambda item: not is_accuracy(item[0])))
    text = _metrics_text(accuracies_first, classes <= FEW_CLASSES, ", ")
    return f"{STAGE_NAMES[stage]} {text}" + (f" ({images:,} images)" if images is not None else "")


def _metrics_text(metrics: dict[str, float], without_top5: bool, between: str) -> str:
    return between.join(
        f"{shown(name)} {f'{100 * value:.1f} %' if is_accuracy(name) else loss_text(value)}"
        for name, value in metrics.items()
        if not (without_top5 and name == "top5")
    )


def _best_line(trainer: pl.Trainer) -> str:
    """Best val top-1 19.6 % (epoch 4 of 4); empty where no epoch was validated.

    The last epoch's, where the test images would have chosen the best.
    """
    checkpoint, rows = _checkpoint(trainer), _rows(trainer)
    name = checkpoint.monitor
    valued = [row for row in rows if name in row and math.isfinite(row[name])]
    if not valued:
        return ""
    last = trainer.datamodule.validates_on_test
    best = valued[-1] if last else best_row(rows, name, checkpoint.mode)
    stage, _, metric = name.rpartition("/")
    value = f"{100 * best[name]:.1f} %" if is_accuracy(metric) else loss_text(best[name])
    epoch = f"(epoch {int(best['epoch']) + 1}{_of(trainer.max_epochs, ' of ')})"
    size = f"at {best[IMAGE_SIZE]:.0f} pixels" if _is_smaller(best, trainer.datamodule) else ""
    words = ["Last" if last else "Best", stage, shown(metric), value, size, epoch]
    return " ".join(word for word in words if word)


def _is_smaller(row: dict[str, float], data: pl.LightningDataModule) -> bool:
    """Whether an epoch was validated at another size than the one to test at."""
    return row.get(IMAGE_SIZE, data.pipeline.image_size) != data.pipeline.image_size


def _machine(trainer: pl.Trainer) -> str:
    """CPU, 2 threads, bf16-mixed, seed 42"""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    parts = [name if trainer.world_size == 1 else f"{trainer.world_size} × {name}"]
    if device.type != "cuda":
        threads = torch.get_num_threads()
        parts.append(f"{threads} thread{'s' * (threads != 1)}")
    parts.append(str(trainer.precision))
    if trainer.state.fn == "fit":
        parts.append(f"seed {os.environ.get('PL_GLOBAL_SEED', 0)}")
    return ", ".join(parts)


def _images(data: pl.LightningDataModule, command: str) -> str:
    """4,500 training and 500 validation images of 10 classes"""
    if command == "predict":
        count = len(data.sets["predict"])
        return f"{count:,} image{'s' * (count != 1)} to predict"
    counts = [f"{len(data.sets[name]):,} {STAGE_NAMES[name]}" for name in SETS[command]]
    return f"{' and '.join(counts)} images of {len(data.classes.ids)} classes"


def _checkpoint(trainer: pl.Trainer) -> RunCheckpoint:
    return next(c for c in trainer.checkpoint_callbacks if isinstance(c, RunCheckpoint))


def _rows(trainer: pl.Trainer) -> list[dict[str, float]]:
    return _checkpoint(trainer).history.rows


def _of(epochs: int | None, before: str) -> str:
    """The number of epochs, after a text; empty for a training without an end."""
    return "" if epochs in (None, -1) else f"{before}{epochs}"
