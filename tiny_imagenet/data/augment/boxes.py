"""Boxes of random area and aspect ratio, as torchvision's RandomResizedCrop and RandomErasing draw them."""

import torch
from torch import Tensor

# How often a box is drawn until one fits, as in torchvision.
ATTEMPTS = 10


def draw_sides(
    count: int, area: float, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Draw the sides of boxes.

    Args:
        count: B.
        area: of the image, in pixels.
        scale: range of a box's area as a fraction of the image's, uniform.
        ratio: range of first side / second side, log-uniform.

    Returns:
        First and second sides in whole pixels, float64 [ATTEMPTS, B], on the CPU.
    """
    box_area = area * torch.empty(ATTEMPTS, count, dtype=torch.float64).uniform_(*scale)
    log_ratio = torch.tensor(ratio, dtype=torch.float64).log().tolist()
    aspect = torch.empty(ATTEMPTS, count, dtype=torch.float64).uniform_(*log_ratio).exp()
    return (box_area * aspect).sqrt().round(), (box_area / aspect).sqrt().round()


def first_fit(sides: tuple[Tensor, Tensor], fits: Tensor, fallback: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The sides of B boxes, float64 [B] each: the first attempt that `fits`, bool [ATTEMPTS, B], or else `fallback`."""
    attempt, found = fits.int().argmax(0, keepdim=True), fits.any(0)
    first, second = (side.gather(0, attempt)[0] for side in sides)
    return first.where(found, fallback[0]), second.where(found, fallback[1])


def draw_offset(room: Tensor) -> Tensor:
    """A random whole number from 0 to `room`, inclusive, for each of its elements [B]."""
    return (torch.rand(len(room), dtype=torch.float64) * (room + 1)).floor()
