"""RandomResizedCrop: a box of random area and aspect ratio, resampled to a fixed size.

Szegedy et al. 2015, https://arxiv.org/abs/1409.4842, section 6.
"""

import torch
from torch import Tensor

from tiny_imagenet.data.augment.base import Augmentation, require_range, require_size, to_device
from tiny_imagenet.data.augment.boxes import draw_offset, draw_sides, first_fit


class RandomResizedCrop(Augmentation):
    """Crop a random box of each image and resample it, bilinear and antialiased, to `size`.

    Args:
        size: side, or height and width, of the result in pixels; null keeps the images' size.
        scale: range of the box's area as a fraction of the image's.
        ratio: range of the box's width / height.
    """

    def __init__(
        self,
        size: int | list[int] | None = None,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        self.size = require_size("RandomResizedCrop.size", size)
        self.scale = require_range("RandomResizedCrop.scale", scale, 0, 1)
        self.ratio = require_range("RandomResizedCrop.ratio", ratio, 0.01)

    def __call__(self, images: Tensor) -> Tensor:
        count, _, height, width = images.shape
        boxes = to_device(draw_crop_boxes(count, height, width, self.scale, self.ratio), images.device)
        return resized_crop(images, *boxes, self.size or (height, width))


def draw_crop_boxes(
    count: int, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Top, left, height and width of boxes in an image, drawn as torchvision does; int64 [4, count] on the CPU."""
    wide, high = draw_sides(count, height * width, scale, ratio)
    fits = (0 < wide) & (wide <= width) & (0 < high) & (high <= height)
    # If no attempt fits: the largest box in the centre with an allowed aspect ratio.
    fallback = min(width, round(height * ratio[1])), min(height, round(width / ratio[0]))
    box_width, box_height = first_fit((wide, high), fits, fallback)
    found = fits.any(0)
    top = draw_offset(height - box_height).where(found, (height - fallback[1]) // 2)
    left = draw_offset(width - box_width).where(found, (width - fallback[0]) // 2)
    return torch.stack([top, left, box_height, box_width]).long()


def resized_crop(
    images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, size: tuple[int, int]
) -> Tensor:
    """Crop a box from each image and resample it, bilinear and antialiased.

    Resampling along an axis is linear, so a small matrix per image and axis replaces a loop over boxes.

    Args:
        images: [B, 3, H, W]; uint8 levels are rounded to uint8 again.
        top, left, height, width: of the boxes in pixels, int64 [B].
        size: height and width of the result.

    Returns:
        Images [B, 3, *size] of the same dtype.
    """
    vertical = _resampling(top, height, images.shape[2], size[0])
    horizontal = _resampling(left, width, images.shape[3], size[1])
    pixels = images.to(torch.float32, memory_format=torch.contiguous_format)
    narrowed = torch.bmm(pixels.flatten(1, 2), horizontal.mT).unflatten(1, pixels.shape[1:3])
    resampled = torch.matmul(vertical[:, None], narrowed)
    return resampled if images.is_floating_point() else resampled.round_().clamp_(0, 255).to(images.dtype)


def _resampling(start: Tensor, length: Tensor, size: int, new_size: int) -> Tensor:
    """Matrices that resample the `length` pixels from `start` to `new_size` pixels, float32 [B, new_size, size].

    The triangular filter of Pillow and of `torch.nn.functional.interpolate(antialias=True)`: as wide as an output pixel
    where the image shrinks, never narrower than an input pixel.
    """
    start, length = start.view(-1, 1, 1), length.view(-1, 1, 1)
    scale = length / new_size
    center = start + scale * (torch.arange(new_size, device=start.device)[:, None] + 0.5)
    pixel = torch.arange(size, device=start.device)
    weight = (1 - (pixel + 0.5 - center).abs() / scale.clamp(min=1)).clamp(min=0)
    weight = weight * ((pixel >= start) & (pixel < start + length))
    return weight / weight.sum(-1, keepdim=True)
