"""The exponential moving average of the weights, on the device that trains and without making it wait."""

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging


class EMA(EMAWeightAveraging):
    """Lightning's EMAWeightAveraging, which it is but for two things that cost time on a GPU.

    Lightning (2.6) makes the average before the network is moved to the GPU, and so leaves it on the CPU; and torch
    reads the number of updates, kept beside the average, at every step. Here the average is on the device and that
    number on the CPU. Buffers, such as BatchNorm's statistics, are averaged too. For the options, see there; `decay`
    0.999 averages over about 1,000 steps.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._device = self._device or trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self._average_model.n_averaged = torch.zeros((), dtype=torch.long)
