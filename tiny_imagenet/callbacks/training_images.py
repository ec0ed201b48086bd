"""Shows the training images in TensorBoard."""

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor


class TrainingImages(Callback):
    """Shows the first batch of a run in TensorBoard as the network sees it, except for the normalisation."""

    IMAGES = 64

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == 0 and batch_idx == 0 and isinstance(trainer.logger, TensorBoardLogger):
            images, info = batch[0][: self.IMAGES], trainer.datamodule.info
            trainer.logger.experiment.add_image("train/images", image_grid(images, info.mean, info.std))


def image_grid(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Normalised images [B, 3, H, W] as one picture, uint8 [3, H', W'], eight a row."""
    from torchvision.utils import make_grid

    mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in (mean, std))
    pixels = (images.float() * std + mean).clamp(0, 1) * 255
    return make_grid(pixels.round().byte(), nrow=8).cpu()
