"""Colour operations with a factor for each image, and torchvision's arithmetic.

Images are [B, 3, H, W], uint8 levels or float32 0..1 unless said otherwise, fastest if contiguous; results have the
same dtype.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the levels by `factor`, [B] of at least 0: 0 is black, 1 changes nothing."""
    return _clamp(images * _per_image(factor), images.dtype)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance from the image's mean grey by `factor`, [B] of at least 0: 0 is grey, 1 changes nothing."""
    return _blend(images, grey(images).mean(dim=(1, 2, 3), keepdim=True), factor)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance from each pixel's grey by `factor`, [B] of at least 0: 0 is grey, 1 changes nothing."""
    return _blend(images, grey(images), factor)


def adjust_hue(images: Tensor, shift: Tensor, out: Tensor | None = None) -> Tensor:
    """Rotate the hues of float images 0..1 by `shift`, [B] in turns of the colour circle, -0.5..0.5.

    Equals a conversion to HSV and back, but in closed form, without a comparison, gather or scatter per pixel. The
    result is written to `out` if given, which may be `images`.
    """
    red, green, blue = images.unbind(1)
    highest = torch.maximum(red, green).clamp_min_(blue)
    chroma = highest - torch.minimum(red, green).clamp_max_(blue)
    # The hue in sixths of the circle, -3..3 with 0 at red: positive on green's side of the circle, negative on blue's.
    # On both, its magnitude is 2 + (green + blue - red - highest) / chroma. (Grey has no hue: any value will do.)
    hue = (green + blue).sub_(red).sub_(highest).div_(chroma.clamp_min(1e-12)).add_(2).copysign_(green - blue)
    turned = hue.mul_(1 / 6).add_(shift.float().view(-1, 1, 1))
    # A channel falls from highest to lowest as the hue moves from 1/6 to 1/3 of a turn away from the channel's own.
    # In terms of the distance to the opposite hue (cyan for red, magenta for green, yellow for blue), the channel is
    # highest - 2 chroma + 6 chroma · distance.
    opposite = 1 / 2 - torch.arange(3, device=images.device) / 3
    distance = turned[:, None] + opposite.view(3, 1, 1)
    distance = distance.sub_(distance.round()).abs_().clamp_(1 / 6, 1 / 3)
    least = highest.sub_(chroma, alpha=2)
    return torch.addcmul(least[:, None], chroma[:, None], distance, value=6, out=out)


def grey(images: Tensor) -> Tensor:
    """Luma [B, 1, H, W] in the images' levels; for uint8 rounded down to whole levels, as in torchvision."""
    red, green, blue = images.unbind(1)
    grey = red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)[:, None]
    return grey if images.is_floating_point() else grey.floor_()


def adjust_sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance from the blurred image by `factor`, [B] of at least 0: 0 blurs, 1 changes nothing.

    The outermost pixels do not change, nor do images with a side of 2 pixels or fewer.
    """
    if min(images.shape[2:]) <= 2:
        return images
    sharpened = images.to(torch.float32, copy=True)
    inner = sharpened[..., 1:-1, 1:-1]
    # Pillow's SMOOTH filter: weight 5 for the pixel, 1 for each of its 8 neighbours.
    blurred = F.avg_pool2d(sharpened, 3, stride=1, divisor_override=1).add_(inner, alpha=4).div_(13)
    if not images.is_floating_point():
        blurred.round_()
    inner.addcmul_(blurred.sub_(inner), _per_image(1 - factor))
    return _clamp(sharpened, images.dtype)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest `bits` of uint8 levels, int64 [B] of 0..8."""
    mask = (255 << (8 - bits)).bitwise_and(255).to(torch.uint8)
    return images & mask.view(-1, 1, 1, 1)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert the uint8 levels that are at least `threshold`, [B]."""
    return torch.where(images >= _per_image(threshold), ~images, images)


def _per_image(parameter: Tensor) -> Tensor:
    """A parameter [B] as float32 [B, 1, 1, 1], to broadcast against images."""
    return parameter.float().view(-1, 1, 1, 1)


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    blended = torch.addcmul(images * _per_image(factor), other, _per_image(1 - factor))
    return _clamp(blended, images.dtype)


def _clamp(levels: Tensor, dtype: torch.dtype) -> Tensor:
    return levels.clamp_(0, 1) if dtype.is_floating_point else levels.clamp_(0, 255).to(dtype)
