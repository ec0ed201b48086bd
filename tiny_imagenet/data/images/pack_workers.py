"""Decodes image files into one array on disk, in one process per core."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from PIL import Image

from tiny_imagenet.data.images.decode import decode_image
from tiny_imagenet.data.images.scan import ImageFiles
from tiny_imagenet.errors import UserError
from tiny_imagenet.progress import progress
from tiny_imagenet.threads import cores

log = logging.getLogger(__name__)

CHUNK_BYTES = 4 * 2**20  # of pixels in a task


def decode_all(files: ImageFiles, image_size: int, path: Path) -> np.ndarray:
    """Decode all images, in their order, into the uint8 [N, S, S, 3] array of an existing .npy file.

    Returns:
        Sums of each image's pixels, of values 0..255 and of their squares, by channel: int64 [N, 2, 3].

    Raises:
        UserError: an image can't be decoded, or a decoding process was killed.
        OSError: the file can't be written.
    """
    job = _Job(files, image_size, path)
    starts = range(0, len(files), job.images_per_task)
    # Forked processes start at once and share the parent's memory, and they use only Pillow and NumPy. Outside Linux,
    # forking is unsafe or does not exist.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    executor = ProcessPoolExecutor(min(cores(), len(starts)), context, _start_worker, (job,))
    sums = []
    try:
        with progress("packing", len(files), "images") as advance:
            for result in executor.map(_run, starts):
                sums.append(result)
                advance(len(result))
    except BrokenProcessPool:
        raise UserError(
            f"A process that decoded the images of {files.folder} was killed, perhaps because memory ran out. Nothing "
            "was saved; close other programs and start again."
        ) from None
    finally:
        executor.shutdown(cancel_futures=True)
    return np.concatenate(sums)


class _Job:
    """What each process needs to decode any range of the images."""

    def __init__(self, files: ImageFiles, image_size: int, path: Path) -> None:
        self.files, self.image_size, self.path = files, image_size, path
        self.images_per_task = max(1, CHUNK_BYTES // (image_size * image_size * 3))

    def run(self, start: int) -> np.ndarray:
        """Decode the images of a task, write them in place, and return their sums, int64 [n, 2, 3]."""
        names, size = self.files.names[start : start + self.images_per_task], self.image_size
        pixels = np.empty((len(names), size, size, 3), np.uint8)
        for image, name in zip(pixels, names, strict=True):
            image[:] = decode_image(os.path.join(self.files.folder, name), size)
        write_rows(self.path, start, pixels)
        return image_sums(pixels)


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


def _start_worker(job: _Job) -> None:
    global _job
    _job = job
    # Ctrl-C reaches the whole process group; the parent handles it and stops its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # decode_image raises an error instead
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    # A killed parent can't stop its workers, which would wait for tasks forever.
    multiprocessing.parent_process().join()
    os._exit(1)


def _run(start: int) -> np.ndarray:
    return _job.run(start)
