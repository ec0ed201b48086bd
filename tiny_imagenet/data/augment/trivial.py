"""TrivialAugmentWide: one random operation per image, at a random strength.

Müller and Hutter 2021, https://arxiv.org/abs/2103.10158; operations and strengths as in torchvision.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torchvision.transforms.v2 import functional as F

from tiny_imagenet.data.augment import colour
from tiny_imagenet.data.augment.base import Augmentation, require_level, to_device
from tiny_imagenet.data.augment.geometry import affine
from tiny_imagenet.errors import UserError

# Weakest and strongest magnitude of each operation, and whether its sign is random. The affine ones come first.
OPERATIONS = {
    "ShearX": (0.0, 0.99, True),  # pixels along x for each pixel along y
    "ShearY": (0.0, 0.99, True),
    "TranslateX": (0.0, 32.0, True),  # pixels
    "TranslateY": (0.0, 32.0, True),
    "Rotate": (0.0, 135.0, True),  # degrees, counter-clockwise
    "Identity": (0.0, 0.0, False),
    "Brightness": (0.0, 0.99, True),  # factor - 1
    "Color": (0.0, 0.99, True),
    "Contrast": (0.0, 0.99, True),
    "Sharpness": (0.0, 0.99, True),
    "Posterize": (8.0, 2.0, False),  # bits
    "Solarize": (1.0, 0.0, False),  # threshold, as a fraction of 255
    "AutoContrast": (0.0, 0.0, False),
    "Equalize": (0.0, 0.0, False),
}
NUM_AFFINE = 5


class TrivialAugmentWide(Augmentation):
    """Apply one of 14 equally likely operations to each image, at one of `num_magnitude_bins` strengths.

    Float images are rounded to uint8 levels first; the result is uint8.

    Args:
        num_magnitude_bins: number of strengths, evenly spaced from an operation's weakest to its strongest.
        interpolation: for shears, translations and rotations.
        fill: level of pixels that come from outside the image, 0..255.
    """

    def __init__(
        self,
        num_magnitude_bins: int = 31,
        interpolation: Literal["nearest", "bilinear"] = "nearest",
        fill: float = 0,
    ) -> None:
        if num_magnitude_bins < 2:
            raise UserError(f"TrivialAugmentWide.num_magnitude_bins must be at least 2, not {num_magnitude_bins}.")
        self.num_magnitude_bins, self.interpolation = num_magnitude_bins, interpolation
        self.fill = require_level("TrivialAugmentWide.fill", fill)

    def __call__(self, images: Tensor) -> Tensor:
        operation, magnitude = draw_operations(len(images), self.num_magnitude_bins)
        return apply_operations(images, operation, magnitude, self.interpolation, self.fill)


def draw_operations(count: int, num_magnitude_bins: int) -> tuple[Tensor, Tensor]:
    """Draw operations, as indices into OPERATIONS, int64 [count], and magnitudes, float64 [count], on the CPU."""
    weakest_to_strongest = [torch.linspace(*limits, num_magnitude_bins) for *limits, _ in OPERATIONS.values()]
    signed = torch.tensor([signed for *_, signed in OPERATIONS.values()])
    operation = torch.randint(len(OPERATIONS), (count,))
    magnitude = torch.stack(weakest_to_strongest)[operation, torch.randint(num_magnitude_bins, (count,))]
    negative = (torch.rand(count) < 0.5) & signed[operation]
    return operation, torch.where(negative, -magnitude, magnitude).double()


def apply_operations(
    images: Tensor,
    operation: Tensor,
    magnitude: Tensor,
    interpolation: Literal["nearest", "bilinear"] = "nearest",
    fill: float = 0,
) -> Tensor:
    """Apply one of OPERATIONS to each image.

    Args:
        images: [B, 3, H, W], uint8 or float32 0..1.
        operation: index into OPERATIONS, int64 [B] on the CPU.
        magnitude: float64 [B] on the CPU.

    Returns:
        uint8 images.
    """
    if images.is_floating_point():
        images = images.mul(255).round_().clamp_(0, 255).to(torch.uint8)
    matrices = affine_matrices(operation, magnitude, *images.shape[2:])
    functions = [
        lambda part, _, matrix: affine(part, matrix, interpolation, fill),
        lambda part, *_: part,
        lambda part, strength, _: colour.adjust_brightness(part, 1 + strength),
        lambda part, strength, _: colour.adjust_saturation(part, 1 + strength),
        lambda part, strength, _: colour.adjust_contrast(part, 1 + strength),
        lambda part, strength, _: colour.adjust_sharpness(part, 1 + strength),
        lambda part, bits, _: colour.posterize(part, bits.round().long()),
        lambda part, threshold, _: colour.solarize(part, 255 * threshold),
        lambda part, *_: F.autocontrast(part),
        lambda part, *_: F.equalize(part),
    ]
    function = (operation - (NUM_AFFINE - 1)).clamp(min=0)
    return _apply_by_choice(images.contiguous(), function, functions, magnitude, matrices)


def affine_matrices(operation: Tensor, magnitude: Tensor, height: int, width: int) -> Tensor:
    """Matrices for `affine`, float64 [B, 2, 3]; the identity for operations that are not affine."""
    of_operation = one_hot(operation, len(OPERATIONS))[:, :NUM_AFFINE]
    shear_x, shear_y, right, down, degrees = (of_operation * magnitude[:, None]).unbind(1)
    cos, sin = degrees.deg2rad().cos(), degrees.deg2rad().sin()
    # Shears fix the upper left corner, rotations the centre. At most one of the five magnitudes is nonzero.
    rows = [
        torch.stack([cos, shear_x - sin, shear_x * height / 2 - right.trunc()], dim=1),
        torch.stack([shear_y + sin, cos, shear_y * width / 2 - down.trunc()], dim=1),
    ]
    return torch.stack(rows, dim=1)


def _apply_by_choice(
    images: Tensor, choice: Tensor, operations: Sequence[Callable[..., Tensor]], *parameters: Tensor
) -> Tensor:
    """Apply to each image the operation chosen for it.

    Images are sorted by operation, so that each operation runs once, on a contiguous slice.

    Args:
        images: [B, 3, H, W], fastest if contiguous.
        choice: index of each image's operation, int64 [B] on the CPU.
        operations: each takes n images and n rows of every parameter, and keeps the images' shape and dtype.
        parameters: [B, ...] on the CPU.
    """
    order = choice.argsort(stable=True)
    counts = choice.bincount(minlength=len(operations)).tolist()
    gather, restore = to_device(torch.stack([order, order.argsort()]), images.device)
    sorted_parameters = [to_device(parameter[order], images.device).split(counts) for parameter in parameters]
    slices = zip(operations, images.index_select(0, gather).split(counts), *sorted_parameters, strict=True)
    results = [operation(part, *rows) for operation, part, *rows in slices if len(part)]
    return torch.cat(results).index_select(0, restore)
