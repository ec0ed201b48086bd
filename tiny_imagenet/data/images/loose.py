"""Image files of any size and format, for prediction; unreadable ones are skipped."""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tiny_imagenet.data.images.decode import UndecodableError, decode_image
from tiny_imagenet.data.images.scan import images_below, kind_left_out, scan_flat, tell_left_out
from tiny_imagenet.errors import UserError
from tiny_imagenet.threads import cores


class LooseImages:
    """Image files, or all images below folders, decoded when read, in a thread per core.

    Args:
        places: a file, a folder, or a pattern such as `photos/**/*.jpg`; or several of these. The names of a single
            folder's images are relative to it; those of several places are paths.
        size: side in pixels of the decoded images; see `decode_image`.

    Raises:
        UserError: there is no such file or folder, or no image in all of them.
    """

    def __init__(self, places: str | Path | Sequence[str | Path], size: int) -> None:
        self.size = size
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
        # Decoding in C lets other threads run.
        with ThreadPoolExecutor(cores()) as threads:
            decoded = list(threads.map(self._decoded, rows))
        found = [(row, pixels) for row, pixels in zip(rows, decoded, strict=True) if pixels is not None]
        images = (
            np.stack([pixels for _, pixels in found]) if found else np.empty((0, self.size, self.size, 3), np.uint8)
        )
        return torch.from_numpy(images).permute(0, 3, 1, 2), torch.tensor([row for row, _ in found], dtype=torch.int64)

    def why_unreadable(self, row: int) -> str:
        """Why an image was skipped."""
        try:
            decode_image(self.folder / self.names[row], self.size)
        except UndecodableError as error:
            return error.reason
        return "it could not be read before, but can be now: start again"

    def _decoded(self, row: int) -> np.ndarray | None:
        try:
            return decode_image(self.folder / self.names[row], self.size)
        except UndecodableError:
            return None


def _expanded(place: str | Path) -> list[str]:
    """A file or a folder, or all that a pattern matches, sorted."""
    path = os.path.expanduser(place)
    if os.path.exists(path):
        return [path]
    if not (matches := sorted(glob.glob(path, recursive=True))):
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
