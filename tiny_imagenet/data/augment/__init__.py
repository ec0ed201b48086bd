"""Augmentation of batches on the device, with random parameters for each image."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from tiny_imagenet.data.augment.base import Augmentation, pixel_rows
from tiny_imagenet.data.augment.erasing import RandomErasing
from tiny_imagenet.data.augment.geometry import RandomCrop, RandomHorizontalFlip
from tiny_imagenet.data.augment.jitter import ColorJitter
from tiny_imagenet.data.augment.resized_crop import RandomResizedCrop
from tiny_imagenet.data.augment.trivial import TrivialAugmentWide

__all__ = [
    "Augmentation",
    "ColorJitter",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "TrivialAugmentWide",
    "augment",
    "normalize",
    "resize",
]


def augment(
    images: Tensor, augmentations: Sequence[Augmentation], mean: Tensor, std: Tensor, size: int | None = None
) -> Tensor:
    """Augment and normalise a batch: augmentations in their order, those of normalised images after normalising.

    Args:
        images: [B, 3, H, W], uint8 levels 0..255 or float32 0..1.
        mean, std: of pixels in 0..1, [3] on the images' device.
        size: side in pixels to resize to before normalising; None keeps the size of the augmented images.

    Returns:
        Normalised images, float32 [B, 3, H', W'] in channels-last memory.
    """
    for augmentation in augmentations:
        if not augmentation.after_normalize:
            images = augmentation(images)
    if size is not None:
        images = resize(images, size)
    images = normalize(images, mean, std)
    for augmentation in augmentations:
        if augmentation.after_normalize:
            images = augmentation(images)
    return images.contiguous(memory_format=torch.channels_last)


def resize(images: Tensor, size: int) -> Tensor:
    """Resize square images [B, 3, H, H], bilinear and antialiased; returns those of this size unchanged."""
    if images.shape[-2:] == (size, size):
        return images
    return F.resize(images, [size, size], antialias=True)


def normalize(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(images - mean) / std of uint8 levels or floats 0..1, as float32 in channels-last memory."""
    pixels = pixel_rows(images)
    highest = 1 if images.is_floating_point() else 255
    # The innermost loop runs over rows of pixels: over 3 channels it would take ten times as long.
    width = images.shape[3]
    scale, shift = (1 / (std * highest)).repeat(width), (-mean / std).repeat(width)
    return torch.addcmul(shift, pixels.flatten(2).float(), scale).view_as(pixels).permute(0, 3, 1, 2)
