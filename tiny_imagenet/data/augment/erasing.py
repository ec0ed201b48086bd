"""RandomErasing: Zhong et al. 2017, https://arxiv.org/abs/1708.04896."""

import torch
from torch import Tensor

from tiny_imagenet.data.augment.base import Augmentation, pixel_rows, require_probability, require_range, to_device
from tiny_imagenet.data.augment.boxes import draw_offset, draw_sides, first_fit


class RandomErasing(Augmentation):
    """Erase a random box of each image with probability `p`, after normalisation.

    Args:
        p: probability that a box of an image is erased.
        scale: range of the box's area as a fraction of the image's.
        ratio: range of the box's height / width.
        value: fill of the box, in normalised units: 0 is the mean colour of the data set.
    """

    after_normalize = True

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: float = 0.0,
    ) -> None:
        self.p = require_probability("RandomErasing.p", p)
        self.scale = require_range("RandomErasing.scale", scale, 0, 1)
        self.ratio = require_range("RandomErasing.ratio", ratio, 0.01)
        self.value = value

    def __call__(self, images: Tensor) -> Tensor:
        count, _, height, width = images.shape
        boxes = draw_erased_boxes(count, height, width, self.p, self.scale, self.ratio)
        return erase(images, *to_device(boxes, images.device), self.value)


def draw_erased_boxes(
    count: int, height: int, width: int, p: float, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Top, left, height and width of boxes in an image, drawn as torchvision does; int64 [4, count] on the CPU.

    With probability 1 - `p`, or if no attempt fits, height and width are 0.
    """
    sides = draw_sides(count, height * width, scale, ratio)
    fits = (sides[0] < height) & (sides[1] < width) & (torch.rand(count) < p)
    box_height, box_width = first_fit(sides, fits, (0, 0))
    return torch.stack([draw_offset(height - box_height), draw_offset(width - box_width), box_height, box_width]).long()


def erase(images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, value: float) -> Tensor:
    """Fill a box of each image with `value`.

    Args:
        images: float [B, 3, H, W].
        top, left, height, width: of the boxes in pixels, int64 [B].

    Returns:
        Images of the same dtype in channels-last memory.
    """
    pixels = pixel_rows(images)
    row = torch.arange(pixels.shape[1], device=images.device)
    column = torch.arange(pixels.shape[2], device=images.device).repeat_interleave(pixels.shape[3])
    in_rows = (row >= top[:, None]) & (row < (top + height)[:, None])
    in_columns = (column >= left[:, None]) & (column < (left + width)[:, None])
    # 1 inside the box, 0 outside; `lerp` is exact for both. On a CPU, filling by a mask would take four times as long,
    # and so would an innermost loop over channels instead of rows of pixels.
    inside = in_rows.to(images.dtype)[:, :, None] * in_columns.to(images.dtype)[:, None]
    erased = torch.lerp(pixels.flatten(2), pixels.new_full((), value), inside)
    return erased.view_as(pixels).permute(0, 3, 1, 2)
