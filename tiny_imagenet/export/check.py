"""Whether a file answers as the network does, and how fast both are."""

import statistics
import tempfile
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from tiny_imagenet.data.augment import resize
from tiny_imagenet.data.images.decode import decode_image
from tiny_imagenet.errors import UserError
from tiny_imagenet.export.loaded import LoadedFile, images_per_second
from tiny_imagenet.export.source import Source
from tiny_imagenet.progress import progress

BATCHES = (1, 7, 128)
IMAGES = 3 * sum(BATCHES)  # at each size
# Height and width of the other sizes, as parts of the side: higher than wide, and wider than high.
OTHERS = ((2.5, 1.7), (0.6, 0.9))
TIE = 1e-4  # Classes whose probabilities differ by less are tied, since sums are rounded differently.
AGREE = 0.99  # of the images at other sizes, at least
FALL = 0.005  # of the test accuracy, at most, where numbers are made smaller
RATED = (1, 64)  # images in the batches whose speed is measured
ROUNDS, SECONDS = 3, 0.3


class Agreement(NamedTuple):
    """How a file's answers compare with the network's at one size of the images."""

    height: int
    width: int
    images: int
    same: int  # images whose best class is the same, or tied with it
    difference: float  # the largest of a probability

    def __str__(self) -> str:
        return (
            f"{self.height}×{self.width} pixels: the same class for {self.same:,} of {self.images:,} images, "
            f"probabilities differ by at most {self.difference:.1e}"
        )


def compare(source: Source, file: LoadedFile) -> Iterator[Agreement]:
    """Run a file beside the network on test images, or on noise without them: at the native size, then at two others.

    At other sizes the network gets what `predict` reads from image files of that size.
    """
    images, side = _examples(source), source.pipeline.side
    yield _agreement(source, file, images, images)
    for height, width in OTHERS:
        resized, decoded = _resized(images, max(1, round(height * side)), max(1, round(width * side)), side)
        yield _agreement(source, file, resized, decoded)


def require_same(found: Agreement, native: bool) -> None:
    """Raise UserError if a file answers otherwise than the network.

    Args:
        native: whether the images have the native size, at which all answers must be the same.
    """
    if found.same < (1 if native else AGREE) * found.images:
        raise UserError(
            f"The file does not answer as the network does, and was not kept. {found}. Try another --format or --opset."
        )


def require_accuracy(source: Source, file: LoadedFile) -> str:
    """Measure a file's top-1 accuracy on all test images, which must be here, beside the network's.

    Returns:
        A line about both.

    Raises:
        UserError: it is lower by more than `FALL`.
    """
    images = source.test_images()
    right = np.zeros(2, np.int64)
    with progress("measuring accuracy", len(images), "images") as advance:
        for rows in np.array_split(np.arange(len(images)), -(-len(images) // 128)):
            pixels, labels = images[rows]
            pixels = resize(pixels, source.pipeline.side)
            answers = source.probabilities(pixels), file(pixels.numpy())
            right += [(each.argmax(axis=1) == labels.numpy()).sum() for each in answers]
            advance(len(rows))
    network, smaller = right / len(images)
    line = f"top-1 {100 * smaller:.2f} % on {len(images):,} test images, {100 * network:.2f} % before"
    if right[0] - right[1] > FALL * len(images):
        raise UserError(f"The file is not accurate enough, and was not kept: {line}; it may fall by {100 * FALL:g}.")
    return line


def speeds(source: Source, file: LoadedFile) -> str:
    """Images/s of a file, and of the network in turns with it."""

    def network(images: np.ndarray) -> np.ndarray:
        return source.probabilities(torch.from_numpy(images))

    side, found = source.pipeline.side, []
    for count in RATED:
        images = np.random.default_rng(0).integers(0, 256, (count, 3, side, side), np.uint8)
        turns = [(file.rate(images, SECONDS), images_per_second(network, images, SECONDS)) for _ in range(1 + ROUNDS)]
        of_file, of_network = map(statistics.median, zip(*turns[1:], strict=True))  # The first allocates memory.
        found.append(f"{of_file:,.0f} images/s at batch {count} (the network {of_network:,.0f})")
    return ", ".join(found)


def _examples(source: Source) -> np.ndarray:
    """Images uint8 [N, 3, S, S] of the native size, spread over the test set; noise if it is not here."""
    images, side = source.test_images(), source.pipeline.side
    if images is None:
        return np.random.default_rng(0).integers(0, 256, (IMAGES, 3, side, side), np.uint8)
    rows = np.linspace(0, len(images) - 1, IMAGES).round().astype(np.int64)
    return resize(images[rows][0], side).contiguous().numpy()


def _resized(images: np.ndarray, height: int, width: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The images at another size, [N, 3, height, width], and what `predict` reads from files of these."""
    resized, decoded = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.ppm"
        for pixels in images.transpose(0, 2, 3, 1):
            image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
            image.save(path)
            resized.append(np.asarray(image))
            decoded.append(decode_image(path, side))
    return np.stack(resized).transpose(0, 3, 1, 2), np.stack(decoded).transpose(0, 3, 1, 2).copy()


def _agreement(source: Source, file: LoadedFile, images: np.ndarray, decoded: np.ndarray) -> Agreement:
    """How a file's answers for images compare with the network's for the same images at the native size."""
    same, difference = 0, 0.0
    with progress("checking the file", len(images), "images") as advance:
        for rows in _batches(len(images)):
            expected = source.probabilities(torch.from_numpy(decoded[rows]))
            found = file(np.ascontiguousarray(images[rows]))
            # How much less likely the network finds the file's best class than its own.
            behind = expected.max(axis=1) - np.take_along_axis(expected, found.argmax(axis=1)[:, None], axis=1)[:, 0]
            same += int((behind <= TIE).sum())
            difference = max(difference, float(np.abs(found - expected).max()))
            advance(len(expected))
    return Agreement(*images.shape[2:], len(images), same, difference)


def _batches(images: int) -> Iterator[slice]:
    """Batches of each of the sizes in turn."""
    first = 0
    for size in cycle(BATCHES):
        if first >= images:
            return
        yield slice(first, first + size)
        first += size
