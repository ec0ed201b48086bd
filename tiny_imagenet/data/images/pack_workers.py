"""Decodes image files into one array on disk, in one process per core."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
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
    """What is known of the decoded images of a task.

    sums: of each image's pixels, of values 0..255 and of their squares, by channel: int64 [n, 2, 3]. unreadable: why
    an image could not be decoded, by name; its pixels are 0. passing: those of them that failed because of the system,
    not the file. ranges: in how many images the levels were taken to have a range that the file does not state, by
    range.
    """

    sums: np.ndarray
    unreadable: dict[str, str]
    passing: list[str]
    ranges: Counter[str]


def tasks_of(images: int, image_size: int) -> list[range]:
    """The rows of each task: as many as have CHUNK_BYTES of pixels."""
    rows = max(1, CHUNK_BYTES // (image_size * image_size * 3))
    return [range(start, min(start + rows, images)) for start in range(0, images, rows)]


def decode_tasks(
    files: ImageFiles, image_size: int, path: Path, tasks: Sequence[range], done: Callable[[range, Decoded], None]
) -> None:
    """Decode the images of some tasks into their rows of the uint8 [N, S, S, 3] array of an existing .npy file.

    Args:
        done: called for each task as soon as its rows are written, in any order.

    Raises:
        UserError: a decoding process was killed.
        OSError: the file can't be written.
    """
    job = _Job(files.folder, image_size, path)
    workers = Workers(job.run, min(cores(), len(tasks)))
    before = len(files) - sum(map(len, tasks))
    # Names are handed over: processes that read them in shared memory would copy all of it in time.
    work = ((task.start, files.names[task.start : task.stop]) for task in tasks)
    try:
        with progress("packing", len(files), "images", before) as advance:
            for place, decoded in workers.results(work):
                done(tasks[place], decoded)
                advance(len(tasks[place]))
    except KilledError:
        raise UserError(
            f"A process that decoded the images of {files.folder} was killed, perhaps because memory ran out. Close "
            "other programs and start again: packing goes on where it stopped."
        ) from None
    finally:
        workers.close()


class _Job(NamedTuple):
    """What each process needs to decode any of the images."""

    folder: Path
    image_size: int
    path: Path

    def run(self, task: tuple[int, list[str]], late: frozenset[int], begin: Begin) -> Decoded:
        """Decode the images of a task, given by its first row and its names, and write them; see `workers.Work`."""
        start, names = task
        pixels = np.empty((len(names), self.image_size, self.image_size, 3), np.uint8)
        unreadable, passing, ranges = {}, [], Counter()
        for place, (image, name) in enumerate(zip(pixels, names, strict=True)):
            if place in late:
                image[:], unreadable[name] = 0, too_slow()
                continue
            begin(place)
            try:
                image[:], levels = decode_and_tell(os.path.join(self.folder, name), self.image_size)
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
