"""The progress of a training: statistics of each epoch, a bar on a terminal, a line an epoch in log files."""

import math
import resource
import sys
import time
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ProgressBar, TQDMProgressBar

from tiny_imagenet.run.checkpointing import RunCheckpoint
from tiny_imagenet.run.metric_names import STAGES, is_accuracy, shown


class EpochStatistics(Callback):
    """Logs of each epoch: `seconds` (training and validation), `images_per_s` of training over all devices, the peak
    `memory` in MiB (of the GPU, or of the process without one), and the learning rate `lr` at its end."""

    def __init__(self) -> None:
        self._seconds_before = 0.0  # of this epoch, before it was resumed
        self._start = self._validation = 0.0
        self._images = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin(pl_module.device)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._images += len(batch[0])

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validation -= time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validation += time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        seconds = time.monotonic() - self._start
        figures = {
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "seconds": self._seconds_before + seconds,
            "images_per_s": self._images * trainer.world_size / (seconds - self._validation),
            "memory": _peak_memory(pl_module.device),
        }
        # In double precision, so that a rate of 0.1 is not written as 0.10000000149.
        doubles = {name: torch.tensor(value, dtype=torch.float64) for name, value in figures.items()}
        pl_module.log_dict(doubles, rank_zero_only=True)
        self._seconds_before = 0.0
        self._begin(pl_module.device)

    def _begin(self, device: torch.device) -> None:
        self._start, self._validation, self._images = time.monotonic(), 0.0, 0
        if device.type == "cuda":
            # In the first steps cudnn.benchmark tries kernels that need more memory than those that it then uses.
            torch.cuda.reset_peak_memory_stats(device)

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self._seconds_before + time.monotonic() - self._start}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self._seconds_before = state_dict["seconds"]


def _peak_memory(device: torch.device) -> float:
    """Peak MiB allocated on a GPU, or resident in this process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


class StepBar(TQDMProgressBar):
    """A bar on a terminal, with the loss of a recent step.

    Reading the loss waits for the device, so it is read once a second; logged with `prog_bar=True`, it would be read at
    every step.
    """

    SECONDS = 1.0  # from one reading to the next

    _loss: torch.Tensor | None = None
    _read_at, _shown = -math.inf, ""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._loss = outputs["loss"].detach()
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        figures = super().get_metrics(trainer, pl_module)
        figures.pop("v_num", None)
        if self._loss is None:
            return figures
        if time.monotonic() - self._read_at >= self.SECONDS:
            # Lightning has divided it by the number of accumulated batches.
            self._shown = f"{self._loss.item() * trainer.accumulate_grad_batches:.3f}"
            self._read_at = time.monotonic()
        return {"loss": self._shown, **figures}


class EpochLines(ProgressBar):
    """One line an epoch instead of a bar, for log files and pipes."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._start, self._first_epoch = 0.0, 0

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start, self._first_epoch = time.monotonic(), trainer.current_epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._print_finished_epoch(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._print_finished_epoch(trainer)

    def _print_finished_epoch(self, trainer: pl.Trainer) -> None:
        # An epoch's row is complete only after the last hook of its end, so it is printed at the start of the next.
        rows = next(c for c in trainer.checkpoint_callbacks if isinstance(c, RunCheckpoint)).history.rows
        if not self._enabled or trainer.current_epoch == self._first_epoch or not rows:
            return
        seconds_each = (time.monotonic() - self._start) / (trainer.current_epoch - self._first_epoch)
        left = None if trainer.max_epochs in (None, -1) else (trainer.max_epochs - trainer.current_epoch) * seconds_each
        print(epoch_line(rows[-1], trainer.max_epochs, left), flush=True)


def epoch_line(row: dict[str, float], epochs: int | None, seconds_left: float | None) -> str:
    """A row of metrics.csv in one line: losses, accuracies in percent, images/s, time left.

    Args:
        row: as in metrics.csv; what it lacks is left out.
        epochs: of the whole training; None or -1 for one without an end.
    """
    of = "" if epochs in (None, -1) else f"/{epochs}"
    parts = [f"epoch {int(row['epoch']) + 1}{of}"]
    for stage in ("train", "val"):
        named = {name: row[f"{stage}/{name}"] for name in STAGES[stage] if f"{stage}/{name}" in row}
        if named:
            values = (f"{100 * value:.2f} %" if is_accuracy(name) else f"{value:.4f}" for name, value in named.items())
            parts.append(f"{stage} " + " ".join(f"{shown(n)} {value}" for n, value in zip(named, values, strict=True)))
    if "images_per_s" in row:
        parts.append(f"{row['images_per_s']:,.0f} images/s")
    if seconds_left is not None:
        minutes = round(seconds_left / 60)
        parts.append(f"{minutes // 60} h {minutes % 60:02} min left" if minutes >= 60 else f"{minutes} min left")
    return " | ".join(parts)
