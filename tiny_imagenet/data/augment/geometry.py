"""Random crops and flips, exact on uint8, and affine transformations with a matrix for each image."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from tiny_imagenet.data.augment.base import (
    Augmentation,
    pixel_rows,
    require_level,
    require_probability,
    require_size,
    to_device,
)
from tiny_imagenet.errors import UserError


class RandomCrop(Augmentation):
    """Pad the images, then crop each at a random position.

    Args:
        size: side, or height and width, of the crop in pixels; null keeps the images' size.
        padding: pixels to add on every side before cropping.
        fill: level of the added pixels, 0..255, if `padding_mode` is constant.
        padding_mode: whether the added pixels are constant, or mirror the image without repeating its edge pixels.
    """

    def __init__(
        self,
        size: int | list[int] | None = None,
        padding: int = 0,
        fill: float = 0,
        padding_mode: Literal["constant", "reflect"] = "constant",
    ) -> None:
        if padding < 0:
            raise UserError(f"RandomCrop.padding must be at least 0 pixels, not {padding}.")
        self.size, self.padding = require_size("RandomCrop.size", size), padding
        self.fill, self.padding_mode = require_level("RandomCrop.fill", fill), padding_mode

    def __call__(self, images: Tensor) -> Tensor:
        count, _, *own_size = images.shape
        height, width = self.size or own_size
        fill = self.fill if images.dtype == torch.uint8 else self.fill / 255
        padded = pad(images, self.padding, fill, self.padding_mode)
        rows, columns = padded.shape[2] - height + 1, padded.shape[3] - width + 1
        if rows < 1 or columns < 1:
            raise UserError(
                f"RandomCrop.size {height}x{width} is larger than the padded images, which are "
                f"{padded.shape[2]}x{padded.shape[3]}. Choose a smaller size or more padding."
            )
        offsets = torch.stack([torch.randint(rows, (count,)), torch.randint(columns, (count,))])
        return crop(padded, *to_device(offsets, images.device), height, width)


class RandomHorizontalFlip(Augmentation):
    """Mirror each image left to right with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = require_probability("RandomHorizontalFlip.p", p)

    def __call__(self, images: Tensor) -> Tensor:
        return horizontal_flip(images, to_device(torch.rand(len(images)) < self.p, images.device))


def pad(images: Tensor, padding: int, fill: float = 0, mode: Literal["constant", "reflect"] = "constant") -> Tensor:
    """Add `padding` pixels on every side: `fill`, or the image mirrored without repeating its edge.

    Raises:
        UserError: the image is too small to mirror so many pixels.
    """
    if not padding:
        return images
    pixels = pixel_rows(images)
    if mode == "constant":
        padded = F.pad(pixels, (0, 0, padding, padding, padding, padding), value=fill)
    else:
        if min(pixels.shape[1:3]) <= padding:
            raise UserError(
                f"RandomCrop.padding {padding} with padding_mode reflect needs images of more than {padding} pixels a "
                f"side, not {pixels.shape[1]}x{pixels.shape[2]}. Choose a smaller padding."
            )
        padded = _mirror_edges(_mirror_edges(pixels, padding, dim=1), padding, dim=2)
    return padded.permute(0, 3, 1, 2)


def crop(images: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """Crop from each image the window whose upper left pixel is at (top, left).

    Args:
        images: [B, 3, H, W] of any dtype.
        top, left: int64 [B], within 0..H-height and 0..W-width.

    Returns:
        Images [B, 3, height, width] in channels-last memory.
    """
    pixels = pixel_rows(images)
    count, image_height, image_width, channels = pixels.shape
    # A row of a window is a contiguous run of memory. The runs from all pixels are the rows of an overlapping view, and
    # selecting rows is a plain copy: 10 times faster than indexing rows and columns.
    starts = count * image_height * image_width - width + 1
    runs = pixels.as_strided((starts, width * channels), (channels, 1))
    first_row = torch.arange(count, device=images.device) * image_height + top
    row = first_row[:, None] + torch.arange(height, device=images.device)
    cropped = runs.index_select(0, (row * image_width + left[:, None]).flatten())
    return cropped.view(count, height, width, channels).permute(0, 3, 1, 2)


def horizontal_flip(images: Tensor, flip: Tensor) -> Tensor:
    """Mirror the images whose entry in `flip`, bool [B], is set; channels-last memory."""
    pixels = pixel_rows(images)
    # Whole images are copied from the two variants: `torch.where` takes five times as long on a CPU.
    both = torch.cat([pixels, pixels.flip(2)]).flatten(1)
    chosen = torch.arange(len(pixels), device=images.device) + len(pixels) * flip
    return both.index_select(0, chosen).view_as(pixels).permute(0, 3, 1, 2)


def affine(
    images: Tensor, matrix: Tensor, interpolation: Literal["nearest", "bilinear"] = "nearest", fill: float = 0
) -> Tensor:
    """Transform each image by its own matrix.

    Args:
        images: [B, 3, H, W]; uint8 levels are rounded to uint8 again.
        matrix: [B, 2, 3], maps the position (x, y, 1) of a pixel of the result, in pixels from the centre, to its
            position in the image.
        fill: level of pixels whose position is outside the image.
    """
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = torch.arange(height, device=images.device)[:, None] - (height - 1) / 2
    # Not a matrix product: GPUs are often set to round it to 10 bits, which is 1/30 of a pixel.
    xx, xy, x0, yx, yy, y0 = matrix.float().flatten(1)[..., None, None].unbind(1)
    positions = torch.stack([(xx * x + xy * y + x0) / (width / 2), (yx * x + yy * y + y0) / (height / 2)], dim=-1)
    # grid_sample takes 0 for pixels outside the image, so `fill` is made 0.
    levels = images.to(torch.float32, memory_format=torch.contiguous_format) - fill
    moved = F.grid_sample(levels, positions, interpolation, padding_mode="zeros", align_corners=False).add_(fill)
    return moved if images.is_floating_point() else moved.round_().to(images.dtype)


def _mirror_edges(pixels: Tensor, padding: int, dim: int) -> Tensor:
    # F.pad reflects floats only.
    size = pixels.shape[dim]
    before = pixels.narrow(dim, 1, padding).flip(dim)
    after = pixels.narrow(dim, size - padding - 1, padding).flip(dim)
    return torch.cat([before, pixels, after], dim)
