"""A batch's way on the device, from uint8 pixels to what the network sees: resize, crop, augment, normalise, mix."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from tiny_imagenet.data.augment import Augmentation, RandomCrop, augment
from tiny_imagenet.data.loader import Batch
from tiny_imagenet.data.mix import Mix


@dataclass
class BatchPipeline:
    """Turns batches of uint8 images into normalised float32 [B, 3, image_size, image_size] in channels-last memory.

    Args:
        image_size: side of the images that the network sees.
        resize: side to resize to before `image_size` is cropped from it; null resizes to `image_size` straight away.
        augmentations: applied in this order, while training only.
        mix: MixUp and CutMix, while training only.
    """

    image_size: int
    resize: int | None
    augmentations: list[Augmentation]
    mix: Mix | None

    @property
    def side(self) -> int:
        """Side in pixels that images are resized to before anything else."""
        return self.resize or self.image_size

    def train(self, batch: Batch, mean: Tensor, std: Tensor, num_classes: int, mixing: bool) -> tuple[Tensor, Tensor]:
        """The batch as a training step sees it.

        Everything random in the step, dropout included, follows from the batch's seed, which is set here.

        Args:
            batch: images uint8 [B, 3, H, W] on the device.
            mean, std: of pixels in 0..1, [3] on the device.
            mixing: whether this epoch is one that mixes.

        Returns:
            images, and targets as int64 labels [B] or, where the batch was mixed, float [B, num_classes].
        """
        torch.manual_seed(batch.seed)
        crop = [RandomCrop(self.image_size)] if self.resize else []
        images = augment(self._resized(batch.images), crop + self.augmentations, mean, std)
        if self.mix is None or not mixing:
            return images, batch.targets
        return self.mix(images, batch.targets, num_classes)

    def evaluate(self, batch: Batch, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """The batch as evaluation sees it: the same each time, cropped in the centre where `resize` is given."""
        images = self._resized(batch.images)
        if self.resize:
            images = F.center_crop(images, [self.image_size, self.image_size])
        return augment(images, [], mean, std), batch.targets

    def _resized(self, images: Tensor) -> Tensor:
        if images.shape[-2:] == (self.side, self.side):
            return images
        return F.resize(images, [self.side, self.side], antialias=True)
