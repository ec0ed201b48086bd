"""Image files of any size and format, for prediction; unreadable ones are skipped."""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tiny_imagenet.data.images.decode import decode_image
from tiny_imagenet.data.images.scan import scan_flat
from tiny_imagenet.errors import UserError


class LooseImages:
    """An image file, or all images below a folder, decoded when read.

    Args:
        place: the file or folder.
        size: side in pixels of the decoded images; see `decode_image`.

    Raises:
        UserError: there is no such file or folder, or the folder has no image.
    """

    def __init__(self, place: str | Path, size: int) -> None:
        place, self.size = Path(os.path.expanduser(place)), size
        if place.is_file():
            self.folder, self.names = place.parent, [place.name]
        elif place.is_dir():
            self.folder, self.names = place, scan_flat(place).names
        else:
            raise UserError(f"images: there is no file or folder {place}.")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Read many images at once.

        Args:
            rows: positions in `names`, int64 [B].

        Returns:
            The readable images, uint8 [b, 3, S, S] in channels-last memory, b ≤ B, and their rows, int64 [b].
        """
        found = [(row, pixels) for row in rows if (pixels := self._decoded(row)) is not None]
        images = (
            np.stack([pixels for _, pixels in found]) if found else np.empty((0, self.size, self.size, 3), np.uint8)
        )
        return torch.from_numpy(images).permute(0, 3, 1, 2), torch.tensor([row for row, _ in found], dtype=torch.int64)

    def why_unreadable(self, row: int) -> str:
        """Why an image was skipped."""
        try:
            decode_image(self.folder / self.names[row], self.size)
        except UserError as error:
            return str(error)
        return f"{self.folder / self.names[row]} could not be read before, but can be now: start again."

    def _decoded(self, row: int) -> np.ndarray | None:
        try:
            return decode_image(self.folder / self.names[row], self.size)
        except UserError:
            return None
