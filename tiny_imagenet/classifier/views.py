"""The views of an image whose logits evaluation averages: mirrored, and shifted by some pixels."""

import torch
from torch import Tensor

from tiny_imagenet.data.augment.geometry import pad


def views(images: Tensor, mirrored: bool, shift: int) -> list[Tensor]:
    """Images [B, 3, H, W] as they are, shifted, and all of these mirrored.

    Args:
        mirrored: whether to mirror them left to right.
        shift: pixels, below H and W, to shift them by, once to the right and down and once to the left and up, edges
            reflected; 0 does not shift them.
    """
    seen = [images]
    if shift:
        padded, (height, width) = pad(images, shift, mode="reflect"), images.shape[2:]
        for at in (0, 2 * shift):
            shifted = padded[:, :, at : at + height, at : at + width]
            seen.append(shifted.contiguous(memory_format=torch.channels_last))
    return seen + [view.flip(3) for view in seen] if mirrored else seen
