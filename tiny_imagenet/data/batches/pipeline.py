"""From uint8 batches to what the network sees, on the device: resize, crop, augment, normalise, mix."""

import logging
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from tiny_imagenet.data.augment import Augmentation, RandomCrop, augment, resize
from tiny_imagenet.data.batches.loader import Batch
from tiny_imagenet.data.batches.mix import Mix
from tiny_imagenet.errors import UserError

log = logging.getLogger(__name__)


@dataclass
class BatchPipeline:
    """Turns batches of uint8 images into normalised float32 [B, 3, image_size, image_size] in channels-last memory.

    Args:
        image_size: side of the images that the network sees.
        resize: side to resize to before cropping to `image_size`; null resizes to `image_size`.
        augmentations: applied in this order, in training only.
        mix: MixUp and CutMix, in training only.
        progressive: sides that training images are resized to after augmentation, each with the fraction of the epochs
            at which it begins, such as {32: 0, 48: 0.4, 64: 0.7}; null trains at `image_size` throughout. Validation
            images of an epoch have the side of its training images, and `image_size` after the last change.
            (https://arxiv.org/abs/2104.00298, without its change of regularisation.)

    Raises:
        UserError: `progressive` does not begin at 0, or has a fraction outside of 0 to below 1, or a side below 1.
    """

    image_size: int
    resize: int | None
    augmentations: list[Augmentation]
    mix: Mix | None
    progressive: dict[int, float] | None = None

    def __post_init__(self) -> None:
        if self.progressive is None:
            return
        sides, fractions = self.progressive.keys(), self.progressive.values()
        if 0 not in fractions or not all(0 <= fraction < 1 for fraction in fractions) or min(sides) < 1:
            raise UserError(
                "progressive must give each side in pixels the fraction of the epochs at which it begins: 0 for the "
                f"first, below 1 for the others, such as {{32: 0, 64: 0.5}}, not {self.progressive}."
            )
        last = self._last_size
        if last != self.image_size:
            log.warning(
                f"progressive ends with images of {last} pixels, but validation images then have {self.image_size}: "
                f"set --data.image_size {last} to make them the same."
            )

    @property
    def side(self) -> int:
        """Side in pixels that images are resized to first."""
        return self.resize or self.image_size

    def train(
        self, batch: Batch, mean: Tensor, std: Tensor, num_classes: int, epoch: int, epochs: int | None
    ) -> tuple[Tensor, Tensor]:
        """The batch as a training step sees it.

        This sets the batch's seed, from which all randomness of the step follows, dropout included.

        Args:
            batch: images uint8 [B, 3, H, W] on the device.
            mean, std: of pixels in 0..1, [3] on the device.
            epoch: number of the epoch, from 0.
            epochs: number of epochs of the training; None or -1 if it has no end.

        Returns:
            Images, and targets as int64 labels [B] or, if the batch was mixed, float [B, num_classes].
        """
        _seed(batch.seed, batch.images.device)
        crop = [RandomCrop(self.image_size)] if self.resize else []
        size = self.train_size(epoch, epochs)
        images = augment(resize(batch.images, self.side), crop + self.augmentations, mean, std, size)
        endless = epochs in (None, -1)
        if self.mix is None or not (endless or epoch < epochs - self.mix.epochs_without):
            return images, batch.targets
        return self.mix(images, batch.targets, num_classes)

    def evaluate(self, batch: Batch, mean: Tensor, std: Tensor, size: int | None = None) -> tuple[Tensor, Tensor]:
        """The batch as evaluation sees it: deterministic, with a central crop if `resize` is given.

        Args:
            size: side of the images that the network sees; None for `image_size`.
        """
        images = resize(batch.images, self.side)
        if self.resize:
            images = F.center_crop(images, [self.image_size, self.image_size])
        return augment(images, [], mean, std, size), batch.targets

    def val_size(self, epoch: int, epochs: int | None) -> int:
        """Side of an epoch's validation images: that of its training images, and finally `image_size`."""
        size = self.train_size(epoch, epochs)
        return self.image_size if size == self._last_size else size

    @property
    def _last_size(self) -> int | None:
        return max(self.progressive, key=self.progressive.get) if self.progressive else None

    def train_size(self, epoch: int, epochs: int | None) -> int | None:
        """Side of an epoch's training images; None keeps the side that augmentation leaves."""
        if self.progressive is None:
            return None
        if epochs in (None, -1):
            raise UserError("progressive needs to know the number of epochs: set --trainer.max_epochs.")
        return [side for first, side in self._first_epochs(epochs) if first <= epoch][-1]

    def pixels_until(self, epoch: float, epochs: int) -> float:
        """Pixels of an image in all epochs before `epoch`, which may be within one; constant sizes count as 1 pixel."""
        if self.progressive is None:
            return epoch
        firsts, sides = zip(*self._first_epochs(epochs), strict=True)
        spans = zip(sides, firsts, [*firsts[1:], epochs], strict=True)
        return sum(side**2 * (min(epoch, end) - first) for side, first, end in spans if first < epoch)

    def _first_epochs(self, epochs: int) -> list[tuple[int, int]]:
        """The epoch at which each side begins, and the side, in their order."""
        begins = sorted((start, side) for side, start in self.progressive.items())
        return [(math.ceil(start * epochs - 1e-9), side) for start, side in begins]


def _seed(seed: int, device: torch.device) -> None:
    """Seed the generators that a step on `device` draws from.

    torch.manual_seed would also record a stack trace for absent devices: 0.7 ms a step under Lightning.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type != "cpu":
        torch.manual_seed(seed)
