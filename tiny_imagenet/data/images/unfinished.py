"""A pack that is not whole yet: which of its images are on the disk, so that packing goes on where it stopped."""

import json
import logging
import math
import time
from collections import Counter
from contextlib import suppress
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from tiny_imagenet.data.images.decode import DECODED_BY, abilities
from tiny_imagenet.data.images.pack_workers import Decoded, decode_tasks, tasks_of, write_rows
from tiny_imagenet.data.images.scan import ImageFiles
from tiny_imagenet.files import replace_text, to_disk

log = logging.getLogger(__name__)

PIXELS, SUMS = "pixels.npy", "sums.npy"
DONE = "done.jsonl"  # a line for each task that is done; not in a whole pack
SECONDS = 2.0  # how much packing a kill may cost


class Unfinished:
    """The folder of a pack while its images are decoded, task by task.

    A task is noted in DONE only after its pixels have reached the disk, and with what they depend on. What no longer
    holds is struck out before anything is written. So neither a kill nor a power cut leaves a wrong pixel.

    unreadable: why images could not be decoded, by name. passing: those of them that may be decoded next time.
    ranges: see `Decoded`.
    """

    def __init__(self, folder: Path, files: ImageFiles, image_size: int) -> None:
        self.folder, self.files, self.image_size = folder, files, image_size
        self.passing: list[str] = []
        self._tasks = tasks_of(len(files), image_size)
        self._done = self._still_valid()  # lines by first row
        self._unsaved: list[dict[str, Any]] = []
        self._saved = time.monotonic()

    @property
    def images_done(self) -> int:
        return len(self.files) - sum(map(len, self._waiting))

    @property
    def bytes_left(self) -> int:
        """Bytes that are still to be written, at most."""
        return packed_bytes(len(self.files) - self.images_done, self.image_size)

    @property
    def unreadable(self) -> dict[str, str]:
        return {name: why for _, line in sorted(self._done.items()) for name, why in line["unreadable"].items()}

    @property
    def ranges(self) -> Counter[str]:
        return reduce(Counter.__add__, (Counter(line["ranges"]) for line in self._done.values()), Counter())

    def allocate(self) -> None:
        """Make the files, or give those of an earlier packing the right length."""
        replace_text(self.folder / DONE, "".join(map(_text, self._done.values())))
        count, side = len(self.files), self.image_size
        _allocate(self.folder / PIXELS, (count, side, side, 3), np.dtype(np.uint8))
        _allocate(self.folder / SUMS, (count, 2, 3), np.dtype(np.int64))
        to_disk(self.folder)

    def decode(self) -> None:
        """Decode what is not done yet; for errors, see `decode_tasks`."""
        if self._done:
            log.info(f"{self.images_done:,} of {len(self.files):,} images in {self.files.folder} are packed already.")
        try:
            decode_tasks(self.files, self.image_size, self.folder / PIXELS, self._waiting, self._add)
        finally:
            self._save()

    @property
    def _waiting(self) -> list[range]:
        return [task for task in self._tasks if task.start not in self._done]

    def _add(self, task: range, decoded: Decoded) -> None:
        write_rows(self.folder / SUMS, task.start, decoded.sums)
        line = self._facts(task) | {"ranges": decoded.ranges, "unreadable": decoded.unreadable}
        if decoded.unreadable:
            line["abilities"] = abilities()
        self._done[task.start] = line
        self.passing += decoded.passing
        if not decoded.passing:
            self._unsaved.append(line)
        if time.monotonic() - self._saved > SECONDS:
            self._save()

    def _save(self) -> None:
        for name in (PIXELS, SUMS):
            to_disk(self.folder / name)
        with open(self.folder / DONE, "ab", buffering=0) as file:
            file.write("".join(map(_text, self._unsaved)).encode())
        self._unsaved, self._saved = [], time.monotonic()

    def _facts(self, task: range) -> dict[str, Any]:
        """What the pixels of a task depend on."""
        sources = self.files.part(task.start, task.stop).digest
        return {"start": task.start, "size": self.image_size, "decoded_by": DECODED_BY, "sources": sources}

    def _still_valid(self) -> dict[int, dict[str, Any]]:
        """The lines of DONE whose files are the same, and whose unreadable images could not be read now either."""
        if not all((self.folder / name).exists() for name in (DONE, PIXELS, SUMS)):
            return {}
        lines = {}
        for text in (self.folder / DONE).read_bytes().splitlines():
            with suppress(ValueError, KeyError, TypeError, RecursionError):  # the last line may be cut
                line = json.loads(text)
                lines[line["start"]] = line
        able = (None, abilities())
        return {
            task.start: line
            for task in self._tasks
            if (line := lines.get(task.start))
            and line.items() >= self._facts(task).items()
            and line.get("abilities") in able
        }


def packed_bytes(images: int, image_size: int) -> int:
    """Bytes that packed images take on the disk."""
    return images * (3 * image_size**2 + 2 * 3 * 8)


def _text(line: dict[str, Any]) -> str:
    return json.dumps(line) + "\n"


def _allocate(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Make a .npy file of zeros, as np.save would, or change the number of rows in one; rows are allocated later."""
    with open(path, "r+b" if path.exists() else "w+b") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + math.prod(shape) * dtype.itemsize)
