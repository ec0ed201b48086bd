"""Decodes image files into one array on disk, in one process per core."""

import logging
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tiny_imagenet.data.images.decode import UndecodableError, decode_and_tell
from tiny_imagenet.data.images.limits import too_slow
from tiny_imagenet.data.images.scan import ImageFiles
from tiny_imagenet.data.images.workers import Begin, KilledError, Workers
from tiny_imagenet.errors import UserError
from tiny_imagenet.progress import progress
from tiny_imagenet.threads import cores

log = logging.getLogger(__name__)

CHUNK_BYTES = 4 * 2**20  # of pixels in a task


class Decoded(NamedTuple):
    """What is known of decoded images.

    sums: of each image's pixels, of values 0..255 and of their squares, by channel: int64 [N, 2, 3]. unreadable: why
    an image could not be decoded, by name; its pixels are 0. passing: those of them that the system, not the file, is
    the reason of. ranges: in how many images the levels were taken to have
    a range that the file does not state, by range.
    """

    sums: np.ndarray
    unreadable: dict[str, str]
    passing: list[str]
    ranges: Counter[str]


def decode_all(files: ImageFiles, image_size: int, path: Path) -> Decoded:
    """Decode all images, in their order, into the uint8 [N, S, S, 3] array of an existing .npy file.

    Raises:
        UserError: a decoding process was killed.
        OSError: the file can't be written.
    """
    job = _Job(files, image_size, path)
    starts = range(0, len(files), job.images_per_task)
    workers, by_task = Workers(job.run, cores()), {}
    try:
        with progress("packing", len(files), "images") as advance:
            for place, result in workers.results(starts):
                by_task[place] = result
                advance(len(result.sums))
    except KilledError:
        raise UserError(
            f"A process that decoded the images of {files.folder} was killed, perhaps because memory ran out. Nothing "
            "was saved; close other programs and start again."
        ) from None
    finally:
        workers.close()
    found = [by_task[place] for place in range(len(starts))]
    unreadable = {name: reason for task in found for name, reason in task.unreadable.items()}
    passing = [name for task in found for name in task.passing]
    ranges = sum((task.ranges for task in found), Counter())
    return Decoded(np.concatenate([task.sums for task in found]), unreadable, passing, ranges)


class _Job:
    """What each process needs to decode any range of the images."""

    def __init__(self, files: ImageFiles, image_size: int, path: Path) -> None:
        self.files, self.image_size, self.path = files, image_size, path
        self.images_per_task = max(1, CHUNK_BYTES // (image_size * image_size * 3))

    def run(self, start: int, late: frozenset[int], begin: Begin) -> Decoded:
        """Decode the images of a task, and write them in place; see `workers.Work`."""
        names, size = self.files.names[start : start + self.images_per_task], self.image_size
        pixels = np.empty((len(names), size, size, 3), np.uint8)
        unreadable, passing, ranges = {}, [], Counter()
        for place, (image, name) in enumerate(zip(pixels, names, strict=True)):
            if place in late:
                image[:], unreadable[name] = 0, too_slow()
                continue
            begin(place)
            try:
                image[:], levels = decode_and_tell(os.path.join(self.files.folder, name), size)
                ranges.update([levels] if levels else [])
            except UndecodableError as error:
                image[:], unreadable[name] = 0, error.reason
                passing += [name] * error.passing
        begin(None)
        write_rows(self.path, start, pixels)
        return Decoded(image_sums(pixels), unreadable, passing, ranges)


def write_rows(path: Path, start: int, rows: np.ndarray) -> None:
    """Write rows into the array of an existing .npy file, from row `start`.

    Not through a memory map, since a full disk kills a process that assigns to one.
    """
    with open(path, "r+b") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        file.seek(start * rows[0].nbytes, os.SEEK_CUR)
        file.write(rows.data)


def image_sums(pixels: np.ndarray) -> np.ndarray:
    """Sums of each image of uint8 [n, S, S, 3], of values and of their squares, by channel: int64 [n, 2, 3]."""
    return np.stack([_channel_sums(values) for values in (pixels, np.square(pixels, dtype=np.uint16))], axis=1)


def _channel_sums(values: np.ndarray) -> np.ndarray:
    """Sum [n, S, S, 3] to int64 [n, 3], in two steps: NumPy is ten times slower with a last axis of 3."""
    count, height, width, channels = values.shape
    columns = values.reshape(count, height, width * channels).sum(1, dtype=np.uint32)
    return columns.reshape(count, width, channels).sum(1, dtype=np.int64)
