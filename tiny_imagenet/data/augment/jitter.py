"""ColorJitter: brightness, contrast, saturation and hue, with factors and an order for each image."""

import numpy as np
import torch
from torch import Tensor

from tiny_imagenet.data.augment.base import Augmentation, pixel_rows, require_range, to_device
from tiny_imagenet.data.augment.colour import adjust_hue, grey
from tiny_imagenet.errors import UserError

# Columns of `factors` and entries of `order` below.
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


class ColorJitter(Augmentation):
    """Change brightness, contrast, saturation and hue of each image, in a random order for each.

    Returns float32 images 0..1, so that nothing is rounded in between.

    Args:
        brightness, contrast, saturation: the factor is uniform in [max(0, 1 - x), 1 + x], or in the given range.
        hue: the shift, in turns of the colour circle, is uniform in [-x, x], or in the given range within -0.5..0.5.
    """

    def __init__(
        self,
        brightness: float | list[float] = 0.0,
        contrast: float | list[float] = 0.0,
        saturation: float | list[float] = 0.0,
        hue: float | list[float] = 0.0,
    ) -> None:
        self.brightness = _limits("ColorJitter.brightness", brightness, around=1, lowest=0)
        self.contrast = _limits("ColorJitter.contrast", contrast, around=1, lowest=0)
        self.saturation = _limits("ColorJitter.saturation", saturation, around=1, lowest=0)
        self.hue = _limits("ColorJitter.hue", hue, around=0, lowest=-0.5, highest=0.5)

    def __call__(self, images: Tensor) -> Tensor:
        limits = [self.brightness, self.contrast, self.saturation, self.hue]
        factors = [torch.empty(len(images)).uniform_(*(range_ or (1, 1))) for range_ in limits]
        used = torch.tensor([kind for kind, range_ in enumerate(limits) if range_], dtype=torch.int64)
        order = used[torch.rand(len(images), len(used)).argsort(dim=1)]
        return jitter(images, torch.stack(factors, dim=1), order)


def jitter(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Adjust brightness, contrast, saturation and hue of each image in its own order.

    Args:
        images: [B, 3, H, W], uint8 levels or float32 0..1.
        factors: of brightness, contrast and saturation, and the shift of hue, float32 [B, 4] on the CPU.
        order: BRIGHTNESS, CONTRAST, SATURATION and HUE, or some of them, in the order to apply them: int64
            [B, 0 to 4] on the CPU, the same ones for all images.

    Returns:
        float32 images 0..1.
    """
    if not order.shape[1]:
        return _unit_floats(images)
    return jitter_one_by_one(images, factors, order) if images.is_cpu else jitter_together(images, factors, order)


def jitter_one_by_one(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """`jitter` in compiled code on one CPU core; the result is in channels-last memory.

    A batch of 128 images at 64×64 takes 1.2 ms, against 3.4 ms in `jitter_together` on two cores, and the normalisation
    after it 0.1 against 0.9 ms (AMD EPYC, torch 2.14, 2026-11-28): each image stays in the cache, and channels-last.
    """
    # Here, since Numba takes half a second to import.
    from tiny_imagenet.data.augment.jitter_cpu import jitter_images

    pixels = pixel_rows(images)
    out = torch.empty_like(pixels, dtype=torch.float32)
    unit = np.float32(1 if images.is_floating_point() else 1 / 255)
    jitter_images(pixels.flatten(1, 2).numpy(), unit, factors.numpy(), order.numpy(), out.flatten(1, 2).numpy())
    return out.permute(0, 3, 1, 2)


def jitter_together(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """`jitter` by operations on the whole batch, on any device; the result is in contiguous memory.

    An order for each image costs no more than one for the batch: the first three adjustments share a formula, so that
    one operation serves images at different ones, and hues are rotated on the slice of images that are at hue.
    """
    count, steps = order.shape
    is_hue = order == HUE
    rows = is_hue.int().argmax(dim=1).argsort(stable=True)
    factors, order, is_hue = factors[rows], order[rows], is_hue[rows]
    turning = is_hue.sum(dim=0).tolist()
    blends = order[~is_hue].view(count, -1)
    factor = factors.gather(1, blends)
    weights = torch.stack([factor, (1 - factor) * (blends == CONTRAST), (1 - factor) * (blends == SATURATION)])

    gather, restore = to_device(torch.stack([rows, rows.argsort()]), images.device)
    weights, shift = to_device(weights, images.device), to_device(factors[:, HUE].contiguous(), images.device)
    images = _unit_floats(pixel_rows(images).index_select(0, gather).permute(0, 3, 1, 2))
    first = 0
    for step in range(steps):
        turned = slice(first, first + turning[step])
        if turning[step]:
            adjust_hue(images[turned], shift[turned], out=images[turned])
        if step < blends.shape[1]:
            _blend_(images, *weights[:, :, step].view(3, count, 1, 1))
        first = turned.stop
    return images.index_select(0, restore)


def _blend_(images: Tensor, factor: Tensor, of_mean: Tensor, of_pixel: Tensor) -> None:
    """Blend each image in place with black, its mean grey or each pixel's grey; the weights are [B, 1, 1]."""
    other = grey(images)[:, 0]
    mean = other.mean(dim=(1, 2), keepdim=True) * of_mean
    images.mul_(factor[:, None]).add_(other.mul_(of_pixel).add_(mean)[:, None]).clamp_(0, 1)


def _unit_floats(images: Tensor) -> Tensor:
    """Float32 0..1 in contiguous memory, since what follows works on one channel at a time."""
    floats = images.to(torch.float32, memory_format=torch.contiguous_format)
    return floats if images.is_floating_point() else floats.div_(255)


def _limits(
    option: str, value: float | list[float], around: float, lowest: float, highest: float = float("inf")
) -> tuple[float, float] | None:
    """The range to draw a factor from; None if it would change nothing."""
    if isinstance(value, (int, float)):
        if value < 0:
            raise UserError(f"{option} must be at least 0 if it is a single number, not {value}.")
        value = [max(lowest, around - value) if around else -value, around + value]
    limits = require_range(option, value, lowest, highest)
    return None if limits == (around, around) else limits
