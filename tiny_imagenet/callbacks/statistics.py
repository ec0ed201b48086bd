"""The statistics of each epoch: learning rate, seconds, images/s, memory."""

import sys
import time
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from tiny_imagenet.run.metric_names import IMAGE_SIZE

try:
    import resource
except ModuleNotFoundError:  # on Windows
    resource = None


class EpochStatistics(Callback):
    """Logs of each epoch: `seconds` (training and validation), `images_per_s` of training over all devices, the peak
    `memory` in MiB (of the GPU, or of the process without one), the learning rate `lr` at its end, and in progressive
    training `image_size`, the side of its validation images in pixels."""

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
        if trainer.datamodule.pipeline.progressive:
            figures[IMAGE_SIZE] = trainer.datamodule.pipeline.val_size(trainer.current_epoch, trainer.max_epochs)
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
    """Peak MiB allocated on a GPU, or resident in this process on the CPU; NaN where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if resource is None:
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
