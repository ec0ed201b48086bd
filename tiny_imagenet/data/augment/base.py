"""The base class of augmentations, and what they share: checks of options, copies of parameters to the device."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from tiny_imagenet.errors import UserError


class Augmentation(ABC):
    """Changes each image of a batch at random, independently of the others.

    Subclasses only draw parameters and pass them to pure functions. They draw from torch's global CPU generator, so
    that a seed gives the same augmentation on every device, and what depends on the draw, such as which images share
    an operation, is known without waiting for a GPU.
    """

    # Whether it expects normalised images, in which 0 is the mean colour, instead of levels.
    after_normalize = False

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """Augment a batch.

        Args:
            images: [B, 3, H, W] on any device and in any memory format; uint8 levels 0..255 or float32 0..1, or
                normalised float32 where `after_normalize` is set.

        Returns:
            A new tensor [B, 3, H', W'] on the same device, in any memory format.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


def to_device(drawn: Tensor, device: torch.device) -> Tensor:
    """Copy parameters from the CPU to the images' device, without waiting for a GPU."""
    if device.type == "cuda":
        return drawn.pin_memory().to(device, non_blocking=True)
    if device.type == "mps" and drawn.dtype == torch.float64:  # Apple's GPUs have no float64
        drawn = drawn.float()
    return drawn.to(device)


def pixel_rows(images: Tensor) -> Tensor:
    """The images as contiguous [B, H, W, 3]: a view if they are channels-last, otherwise a copy."""
    return images.permute(0, 2, 3, 1).contiguous()


def require_range(
    option: str, value: Sequence[float], lowest: float, highest: float = float("inf")
) -> tuple[float, float]:
    """The two numbers of a range option.

    Raises:
        UserError: they are not two increasing numbers between `lowest` and `highest`.
    """
    if len(value) != 2 or not lowest <= value[0] <= value[1] <= highest:
        within = f"between {lowest:g} and {highest:g}" if highest < float("inf") else f"of at least {lowest:g}"
        raise UserError(f"{option} must be two increasing numbers {within}, not {list(value)}.")
    return float(value[0]), float(value[1])


def require_probability(option: str, value: float) -> float:
    """The value of a probability option; raises UserError if it is not between 0 and 1."""
    if not 0 <= value <= 1:
        raise UserError(f"{option} must be a probability between 0 and 1, not {value}.")
    return value


def require_level(option: str, value: float) -> float:
    """The value of a level option; raises UserError if it is not between 0 and 255."""
    if not 0 <= value <= 255:
        raise UserError(f"{option} must be a level between 0 and 255, not {value}.")
    return value


def require_size(option: str, value: int | Sequence[int] | None) -> tuple[int, int] | None:
    """Height and width in pixels, from an option that is a side, a pair or None.

    Raises:
        UserError: it is not one or two positive numbers.
    """
    if value is None:
        return None
    size = (value, value) if isinstance(value, int) else tuple(value)
    if len(size) != 2 or min(size) < 1:
        raise UserError(f"{option} must be a side or a [height, width] of at least 1 pixel, not {value}.")
    return size
