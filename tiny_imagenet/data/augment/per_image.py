"""Transforms of single images, such as torchvision's or a user's, applied to batches."""

import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tiny_imagenet.errors import UserError


class PerImage:
    """Applies a transform to each image of a batch in turn.

    It is many times slower than the batched augmentations. What the transform draws from torch, NumPy's global
    generator or `random` follows from the step's seed, so that a resumed training sees the same images.

    Args:
        transform: takes an image, uint8 [3, H, W], and returns one, uint8 or float32 0..1, [3, H', W'], with the same
            size for all images of a batch.
    """

    after_normalize = False  # as an Augmentation's: it takes levels

    def __init__(self, transform: Callable[[Tensor], Tensor]) -> None:
        self.transform = transform

    def __repr__(self) -> str:
        return repr(self.transform)

    def __call__(self, images: Tensor) -> Tensor:
        if images.is_floating_point():
            images = (images * 255).round().clamp(0, 255).to(torch.uint8)
        numpy_state, random_state = np.random.get_state(), random.getstate()
        seed = int(torch.randint(2**31, ()))
        np.random.seed(seed)
        random.seed(seed)
        try:
            transformed = [self._transformed(image) for image in images.contiguous()]
        finally:
            np.random.set_state(numpy_state)
            random.setstate(random_state)
        for image in transformed:
            alike = isinstance(image, Tensor) and image.ndim == 3 and len(image) == 3
            if not alike or image.shape != transformed[0].shape or image.dtype != transformed[0].dtype:
                found = list(image.shape) if isinstance(image, Tensor) else type(image).__name__
                raise UserError(
                    f"augment: {type(self.transform).__name__} must return images [3, H, W] of one size and type, "
                    f"not {found} after {list(getattr(transformed[0], 'shape', ()))}."
                )
        return torch.stack(transformed)

    def _transformed(self, image: Tensor) -> Tensor:
        try:
            return self.transform(image)
        except Exception as error:
            raise UserError(f"augment: {type(self.transform).__name__}: {error or type(error).__name__}") from error
