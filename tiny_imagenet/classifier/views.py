"""The views of an image that evaluation takes the mean of."""

import torch
from torch import Tensor

from tiny_imagenet.data.augment.geometry import pad


def views(images: Tensor, mirrored: bool, shift: int) -> list[Tensor]:
    """Images [B, 3, H, W] as they are, moved, and all of these mirrored.

    Args:
        mirrored: whether to mirror them left to right.
        shift: pixels, below H and W, that they are moved by, once to the right and down and once to the left and up,
            edges reflected; 0 does not move them.
    """
    seen = [images]
    if shift:
        padded, (height, width) = pad(images, shift, mode="reflect"), images.shape[2:]
        for at in (0, 2 * shift):
            moved = padded[:, :, at : at + height, at : at + width]
            seen.append(moved.contiguous(memory_format=torch.channels_last))
    return seen + [view.flip(3) for view in seen] if mirrored else seen
