"""What a network needs to know about its training data."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from tiny_imagenet.errors import UserError

# Mean and standard deviation of ImageNet's training pixels, which all of torchvision's pretrained weights expect
# (https://docs.pytorch.org/vision/stable/models.html).
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DatasetInfo:
    """Classes, image size in pixels, and the `mean` and `std` that normalise pixels in 0..1.

    Every checkpoint holds it, as plain types.
    """

    class_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def mean_std(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """`mean` and `std` as tensors [3] on a device; cached, since a copy at each step would make a GPU wait."""
        return _on_device(tuple(self.mean), device), _on_device(tuple(self.std), device)


@lru_cache(maxsize=16)
def _on_device(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)


def require_same_classes(info: DatasetInfo, class_ids: tuple[str, ...]) -> None:
    """Raise UserError if a network's classes are not those of the data in the same order."""
    if tuple(info.class_ids) != tuple(class_ids):
        raise UserError(
            f"The checkpoint has {len(info.class_ids)} classes ({info.class_ids[0]} to {info.class_ids[-1]}), but the "
            f"data has {len(class_ids)} ({class_ids[0]} to {class_ids[-1]}). Use the data and --data.classes that it "
            "was trained with, or start a new run from it with --model.weights."
        )
