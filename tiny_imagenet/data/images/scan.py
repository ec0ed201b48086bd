"""Finds image files: their names and labels, and the sizes and times that show a later change."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tiny_imagenet.errors import UserError

EXTENSIONS = (".jpeg", ".jpg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
SYSTEM_FOLDERS = ("lost+found", "__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information")
UNLABELLED = -1
Found = tuple[str, int, int]  # name, size and time of a file


@dataclass(frozen=True)
class ImageFiles:
    """The images of one split, sorted by class and then by name.

    folder: what `names` are relative to. labels: indices into `class_ids`, int64 [N], or -1 for unlabelled images.
    sizes: bytes of each file, int64 [N]. times: of last modification, in ns, int64 [N].
    """

    folder: Path
    class_ids: tuple[str, ...]
    names: list[str]
    labels: np.ndarray
    sizes: np.ndarray
    times: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def names_of(self, class_id: str) -> set[str]:
        """The file names of one class, without folders."""
        rows = np.flatnonzero(self.labels == self.class_ids.index(class_id))
        return {os.path.basename(self.names[row]) for row in rows}


def scan_classes(folder: Path, class_ids: Sequence[str]) -> ImageFiles:
    """All images below `folder/<class id>/`, labelled by the position of the class in `class_ids`.

    Hidden files, files without an image's extension and folders of the system are skipped; symbolic links are followed.

    Raises:
        UserError: a class has no folder or no images.
    """
    found, labels = [], []
    for label, class_id in enumerate(class_ids):
        images = sorted(_images(folder / class_id, f"{class_id}/"))
        if not images:
            raise UserError(
                f"{folder / class_id} has no images ({', '.join(EXTENSIONS)}) for class {class_id}. Put some there; if "
                "they came from an archive, delete the extracted folder and start again."
            )
        found += images
        labels += [label] * len(images)
    return _files(folder, tuple(class_ids), found, labels)


def scan_flat(folder: Path) -> ImageFiles:
    """All images below a folder, without labels.

    Raises:
        UserError: the folder does not exist or has no images.
    """
    images = sorted(_images(folder, ""))
    if not images:
        raise UserError(f"{folder} has no images ({', '.join(EXTENSIONS)}). Put some there, or choose another folder.")
    return _files(folder, (), images, [UNLABELLED] * len(images))


def has_images(folder: Path) -> bool:
    """Whether there is an image below a folder; reads no further than the first."""
    return any(True for _ in _images(folder, ""))


def is_system_folder(name: str) -> bool:
    """Whether a folder is hidden, or has a name under which systems and programs keep waste, copies and thumbnails."""
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS


def is_image(name: str) -> bool:
    """Whether a file name is that of an image, and not hidden."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def _images(folder: Path | str, prefix: str) -> Iterator[Found]:
    """The image files below a folder, unsorted."""
    below = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_image(entry.name):
                    status = entry.stat()
                    if stat.S_ISREG(status.st_mode):
                        yield prefix + entry.name, status.st_size, status.st_mtime_ns
                elif entry.is_dir() and not is_system_folder(entry.name):
                    below.append(entry)
    except FileNotFoundError as error:
        if error.filename == os.fspath(folder):
            return
        raise UserError(f"{error.filename} is a broken link. Remove it.") from None
    except OSError as error:
        raise UserError(f"{error.filename or folder} can't be read: {error.strerror}.") from None
    for entry in below:
        yield from _images(entry.path, f"{prefix}{entry.name}/")


def _files(folder: Path, class_ids: tuple[str, ...], found: list[Found], labels: list[int]) -> ImageFiles:
    names, sizes, times = zip(*found, strict=True)
    return ImageFiles(folder, class_ids, list(names), *(np.array(each, np.int64) for each in (labels, sizes, times)))
