"""Image files of any size and format, for prediction; unreadable ones are skipped."""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tiny_imagenet.data.images.decode import UndecodableError, decode_image
from tiny_imagenet.data.images.limits import too_slow
from tiny_imagenet.data.images.scan import images_below, kind_left_out, scan_flat, tell_left_out
from tiny_imagenet.data.images.workers import Begin, KilledError, Workers
from tiny_imagenet.errors import UserError
from tiny_imagenet.threads import cores

TASKS = 2  # of each process for a batch


class LooseImages:
    """Image files, or all images below folders, decoded when read, in a process per core.

    Args:
        places: a file, a folder, or a pattern such as `photos/**/*.jpg`; or several of these. The names of a single
            folder's images are relative to it; those of several places are paths.
        size: side in pixels of the decoded images; see `decode_image`.

    Raises:
        UserError: there is no such file or folder, or no image in all of them.
    """

    def __init__(self, places: str | Path | Sequence[str | Path], size: int) -> None:
        self.size = size
        self._workers: Workers | None = None
        self._reasons: dict[int, str] = {}  # why images were skipped, by row
        places = [places] if isinstance(places, str | Path) else places
        found = [path for place in places for path in _expanded(place)]
        if len(found) > 1:
            self.folder, self.names = Path(), _names(found)
        elif os.path.isdir(found[0]):
            self.folder = Path(found[0])
            self.names = scan_flat(self.folder).names
        else:
            self.folder, self.names = Path(found[0]).parent, [os.path.basename(found[0])]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Read many images at once.

        Args:
            rows: positions in `names`, int64 [B].

        Returns:
            The readable images, uint8 [b, 3, S, S] in channels-last memory, b ≤ B, and their rows, int64 [b].
        """
        decoded = zip(rows, self._decoded(rows), strict=True)
        found = [(row, pixels) for row, pixels in decoded if not isinstance(pixels, str)]
        images = (
            np.stack([pixels for _, pixels in found]) if found else np.empty((0, self.size, self.size, 3), np.uint8)
        )
        return torch.from_numpy(images).permute(0, 3, 1, 2), torch.tensor([row for row, _ in found], dtype=torch.int64)

    def why_unreadable(self, row: int) -> str:
        """Why an image was skipped."""
        if row not in self._reasons:  # another process of this command skipped it
            self._decoded(np.array([row]))
        return self._reasons.get(row, "it could not be read before, but can be now: start again")

    def _decoded(self, rows: np.ndarray) -> list[np.ndarray | str]:
        """The pixels of images, or why they can't be read."""
        if self._workers is None:
            self._workers = Workers(partial(_decoded_files, self.size), cores())
        places = np.array_split(rows, max(1, min(len(rows), TASKS * cores())))
        tasks = [[os.path.join(self.folder, self.names[row]) for row in of_task] for of_task in places]
        try:
            by_task = dict(self._workers.results(tasks))
        except KilledError:
            raise UserError(
                "A process that decoded images was killed, perhaps because memory ran out. Close other programs and "
                "start again."
            ) from None
        decoded = [each for place in range(len(tasks)) for each in by_task[place]]
        self._reasons |= {row: each for row, each in zip(rows, decoded, strict=True) if isinstance(each, str)}
        return decoded


def _decoded_files(size: int, paths: list[str], late: frozenset[int], begin: Begin) -> list[np.ndarray | str]:
    """The pixels of files, or why they can't be read; see `workers.Work`."""
    decoded = []
    for place, path in enumerate(paths):
        if place in late:
            decoded.append(too_slow())
            continue
        begin(place)
        try:
            decoded.append(decode_image(path, size))
        except UndecodableError as error:
            decoded.append(error.reason)
    begin(None)
    return decoded


def _expanded(place: str | Path) -> list[str]:
    """A file or a folder, or all that a pattern matches, sorted."""
    path = os.path.expanduser(place)
    if os.path.exists(path):
        return [path]
    try:
        matches = sorted(glob.glob(path, recursive=True))
    except RecursionError:
        raise UserError(f"images: {path} matches folders that are nested too deeply.") from None
    if not matches:
        pattern = glob.has_magic(path)
        raise UserError(f"images: {'nothing matches' if pattern else 'there is no file or folder'} {path}.")
    # Of a last `**`, the files are all there is in the folders.
    found = [match for match in matches if os.path.basename(path) != "**" or not os.path.isdir(match)]
    if not found:
        raise UserError(f"images: {path} matches only folders without files.")
    return found


def _names(found: Sequence[str]) -> list[str]:
    """The paths of all images in files and folders, each once, in their order.

    Raises:
        UserError: there is none.
    """
    names, left_out = {}, Counter()  # names by normalised path
    for path in found:
        if os.path.isdir(path):
            images, others = images_below(path)
            paths = [os.path.join(path, name) for name, _, _ in images]
            left_out += others
        elif kind := kind_left_out(path):
            paths = []
            left_out[kind] += 1
        else:
            paths = [path]
        names |= {os.path.normpath(each): each for each in paths if os.path.normpath(each) not in names}
    tell_left_out("images", left_out)
    if not names:
        raise UserError("images: there is no image in what was given.")
    return list(names.values())
