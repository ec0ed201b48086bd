"""What a folder holds: class folders with images, and what is left out of a data set."""

import logging
import os
from pathlib import Path
from typing import NamedTuple

from tiny_imagenet.data.images.scan import has_images, is_folder, is_image, is_system_folder
from tiny_imagenet.errors import UserError, some

log = logging.getLogger(__name__)

OWN = (".packed", ".lock", ".archive.json")  # what this project leaves beside class folders
DEEPEST = 3  # lone folders that a data set is looked for in
SYSTEM_FILES = ("thumbs.db", "desktop.ini")


class Content(NamedTuple):
    """Names in a folder, sorted.

    classes: folders with images below. empty: folders without. system: files and folders of the system and of other
    programs. files: all others.
    """

    classes: tuple[str, ...]
    empty: tuple[str, ...]
    system: tuple[str, ...]
    files: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path) -> "Content":
        """Raises UserError if the folder can't be read."""
        try:
            with os.scandir(folder) as entries:
                found = sorted((entry.name, is_folder(entry)) for entry in entries if entry.name not in OWN)
        except OSError as error:
            raise UserError(
                f"{folder} can't be read: {error.strerror}. It should have one folder of images per class."
            ) from None
        classes, empty, system, files = [], [], [], []
        for name, is_dir in found:
            if is_dir and is_system_folder(name) or name.startswith(".") or name.lower() in SYSTEM_FILES:
                system.append(name)
            elif is_dir:
                (classes if has_images(folder / name) else empty).append(name)
            else:
                files.append(name)
        return cls(tuple(classes), tuple(empty), tuple(system), tuple(files))

    def tell_left_out(self, folder: Path) -> None:
        """Log in one line what is in the folder besides class folders."""
        told = [
            f"{len(names):,} {what} ({some(names)})"
            for names, what in (
                (self.empty, "without images"),
                (self.system, "of the system or other programs"),
                (self.files, "in no class folder"),
            )
            if names
        ]
        if told:
            log.info(f"{folder}: left out {', '.join(told)}.")


def has_class_folders(folder: Path) -> bool:
    """Whether a folder of images has folders of images, and not only images."""
    with os.scandir(folder) as entries:
        return any(
            is_folder(entry) and not is_system_folder(entry.name) and has_images(Path(entry.path)) for entry in entries
        )


def has_loose_images(folder: Path) -> bool:
    """Whether a folder has images that are in no sub-folder; reads no further than the first."""
    with os.scandir(folder) as entries:
        return any(is_image(entry.name) and not is_folder(entry) for entry in entries)


def holding(folder: Path, *files: str) -> Path:
    """The folder, or the lone one in it, that has one of the files; it is logged if it is not `folder`.

    Where several are beside each other, it is the only one with such a file. `folder` is returned if none has one.
    """
    inner = folder
    for _ in range(DEEPEST):
        if any((inner / name).exists() for name in files):
            if inner != folder:
                log.info(f"{folder}: the data set is in {inner}.")
            return inner
        try:
            with os.scandir(inner) as entries:
                below = [Path(entry.path) for entry in entries if is_folder(entry) and not is_system_folder(entry.name)]
        except OSError:
            break
        having = [path for path in below if any((path / name).exists() for name in files)]
        if len(having or below) != 1:
            break
        (inner,) = having or below
    return folder
