"""The network that is exported: from uint8 images of any size to probabilities, as `predict` gets them from files."""

import copy

import PIL
import torch
from torch import Tensor, nn

from tiny_imagenet.classifier import ImageClassifier
from tiny_imagenet.classifier.views import views
from tiny_imagenet.data.batches.loader import Batch
from tiny_imagenet.data.batches.pipeline import BatchPipeline

# Pillow rounds the weights of a mean to this many bits after the point.
BITS = 22
# Since version 13 it begins with the columns of high images, by the rule below (found by trying 3,000 sizes). The order
# changes some pixels by one level.
COLUMNS_FIRST = int(PIL.__version__.partition(".")[0]) >= 13


class ExportedNetwork(nn.Module):
    """A classifier with all that comes before and after the network.

    Args:
        classifier: its network is copied.
        pipeline: of the run; what it does in training is left out.
        half: compute the network itself in float16.
    """

    def __init__(self, classifier: ImageClassifier, pipeline: BatchPipeline, half: bool = False) -> None:
        super().__init__()
        # Another memory format would be written to the file as copies.
        network = copy.deepcopy(classifier.network).to(memory_format=torch.contiguous_format)
        self.network = _Half(network) if half else network
        self.tta, self.tta_shift = classifier.hparams.tta, classifier.hparams.tta_shift
        self.pipeline = pipeline
        mean, std = classifier.info.mean_std(torch.device("cpu"))
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Images uint8 [B, 3, H, W] of any size to probabilities [B, C]."""
        batch = Batch(central_square(images, self.pipeline.side), images, images, -1)
        images, _ = self.pipeline.evaluate(batch, self.mean, self.std)
        seen = views(images, self.tta, self.tta_shift)
        # In one batch: for each call, the file would have a network of its own.
        logits = self.network(torch.cat(seen)).float().unflatten(0, (len(seen), images.shape[0]))
        return logits.mean(dim=0).softmax(dim=1)


class _Half(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half()

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.half())


def central_square(images: Tensor, size: int) -> Tensor:
    """The central square of each image, resized: the pixels that `decode_image` gets from Pillow.

    Pillow computes weighted means along the rows and the columns, and rounds after each. It does so in integers, hence
    the float64 here, in which these are exact. Images of the right size stay as they are.

    Args:
        images: uint8 [B, 3, H, W].
        size: side of the square in pixels.

    Returns:
        uint8 [B, 3, size, size].
    """
    down, across = (_count(length) for length in images.shape[2:])
    of_columns, of_rows = _weights(down, across, size), _weights(across, down, size).T
    given = images.double(), of_columns, of_rows
    if not COLUMNS_FIRST:
        return _rows_first(*given).to(torch.uint8)
    high = down[-1] - across[-1] > (across[-1] - size).abs()
    return torch.cond(high, _columns_first, _rows_first, given).to(torch.uint8)


def _columns_first(pixels: Tensor, of_columns: Tensor, of_rows: Tensor) -> Tensor:
    return _weighted(_weighted(of_columns, pixels), of_rows)


def _rows_first(pixels: Tensor, of_columns: Tensor, of_rows: Tensor) -> Tensor:
    return _weighted(of_columns, _weighted(pixels, of_rows))


def _weighted(left: Tensor, right: Tensor) -> Tensor:
    return torch.floor((left @ right + 2 ** (BITS - 1)) / 2**BITS)


def _weights(along: Tensor, across: Tensor, size: int) -> Tensor:
    """The weights [size, length] of Pillow's antialiased bilinear resizing of an image's central square on one axis.

    Args:
        along: 0, 1, … to the image's length along the axis in pixels.
        across: the same of the other axis.
    """
    length, side = along[-1], torch.minimum(along[-1], across[-1])
    scale = side / size
    centres = (length - side) / 2 + (_count(size)[:-1] + 0.5) * scale
    distances = (along[:-1] + 0.5 - centres[:, None]).abs() / scale.clamp(min=1)
    weights = (1 - distances).clamp(min=0)
    return torch.floor(weights / weights.sum(dim=1, keepdim=True) * 2**BITS + 0.5)


def _count(last: int) -> Tensor:
    """0, 1, … to `last`. A tensor, since torch.onnx computes with Python's numbers in float32."""
    return torch.arange(last + 1, dtype=torch.float64)
