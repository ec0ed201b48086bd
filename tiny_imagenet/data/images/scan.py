"""Finds image files: their names and labels, and the sizes and times that show a later change."""

import hashlib
import logging
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tiny_imagenet.data.images.content import format_of
from tiny_imagenet.errors import UserError

log = logging.getLogger(__name__)

# Files with one of these are taken for images, whatever they hold. All others are looked into.
EXTENSIONS = (
    *(".jpeg", ".jpg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
    *(".jfif", ".jpe", ".mpo", ".avif", ".heic", ".heif"),
)
# Raw photographs begin like TIFF, but hold only a small preview that Pillow can read.
RAW = (".dng", ".nef", ".nrw", ".cr2", ".arw", ".sr2", ".srw", ".pef", ".orf", ".rw2", ".3fr", ".iiq", ".kdc", ".erf")
SYSTEM_FOLDERS = ("lost+found", "__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information")
PACKED, BOXES = ".packed", "_boxes.txt"  # this project's folder, and a file of each class of Tiny ImageNet
FILES = (stat.S_IFREG, stat.S_IFLNK)  # a link that was not followed is broken; whoever reads it says so
UNLABELLED = -1
KINDS = 15  # of files left out that a message names
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

    def part(self, start: int, stop: int) -> "ImageFiles":
        """The files from one row to before another."""
        columns = (self.names, self.labels, self.sizes, self.times)
        return ImageFiles(self.folder, self.class_ids, *(column[start:stop] for column in columns))

    @property
    def digest(self) -> str:
        """A hash of the names, labels, sizes and times: another one shows an added, removed or changed file."""
        digest = hashlib.blake2b("\0".join(self.names).encode("utf-8", "surrogateescape"))
        for values in (self.labels, self.sizes, self.times):
            digest.update(values.tobytes())
        return digest.hexdigest()

    def names_of(self, class_id: str) -> set[str]:
        """The file names of one class, without folders."""
        rows = np.flatnonzero(self.labels == self.class_ids.index(class_id))
        return {os.path.basename(self.names[row]) for row in rows}


def scan_classes(folder: Path, class_ids: Sequence[str]) -> ImageFiles:
    """All images below `folder/<class id>/`, labelled by the position of the class in `class_ids`.

    Symbolic links are followed. Hidden files, folders of the system, and files that are images neither by extension nor
    by their first bytes, are left out; their number is logged by kind.

    Raises:
        UserError: a class has no folder or no images.
    """
    found, left_out = [], Counter()
    for class_id in class_ids:
        before = left_out.copy()
        images = sorted(_images(folder / class_id, f"{class_id}/", left_out))
        if not images:
            raise UserError(
                f"{folder / class_id} has no images ({', '.join(EXTENSIONS)}) for class {class_id}"
                f"{_but(left_out - before)}. Put some there; if they came from an archive, delete the extracted folder "
                "and start again."
            )
        found.append(_columns(images))
    tell_left_out(folder, left_out)
    names = [name for of_class, _ in found for name in of_class]
    labels = np.repeat(np.arange(len(found), dtype=np.int64), [len(of_class) for of_class, _ in found])
    return ImageFiles(folder, tuple(class_ids), names, labels, *np.concatenate([each for _, each in found], axis=1))


def scan_flat(folder: Path) -> ImageFiles:
    """All images below a folder, without labels; see `scan_classes` for what is left out.

    Raises:
        UserError: the folder does not exist or has no images.
    """
    images, left_out = images_below(folder)
    if not images:
        raise UserError(
            f"{folder} has no images ({', '.join(EXTENSIONS)}){_but(left_out)}. Put some there, or choose another "
            "folder."
        )
    tell_left_out(folder, left_out)
    names, sizes_and_times = _columns(images)
    return ImageFiles(folder, (), names, np.full(len(names), UNLABELLED, np.int64), *sizes_and_times)


def has_images(folder: Path) -> bool:
    """Whether there is an image below a folder; reads no further than the first."""
    return any(True for _ in _images(folder, "", Counter()))


def images_below(folder: Path | str) -> tuple[list[Found], Counter[str]]:
    """The images below a folder, sorted by name, and how many files of each kind are left out."""
    left_out = Counter()
    return sorted(_images(folder, "", left_out)), left_out


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder, or a link to one; not where links form a circle."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_system_folder(name: str) -> bool:
    """Whether a folder is hidden, or has a name under which systems and programs keep waste, copies and thumbnails."""
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS


def is_image(name: str) -> bool:
    """Whether a file name is that of an image, and not hidden."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def kind_left_out(path: str) -> str | None:
    """The kind of a file that is left out, as its number is told, such as `.txt`; None for an image."""
    name = os.path.basename(path)
    if name.startswith("."):
        return "hidden"
    if not os.path.isfile(path):
        return "broken link" if os.path.islink(path) else "special file"
    extension = os.path.splitext(name)[1].lower()
    try:
        if extension in EXTENSIONS or (extension not in RAW and format_of(path)):
            return None
    except OSError:
        return "unreadable"
    return extension or "without extension"


def _kind_of_folder(name: str) -> str:
    return "hidden folder" if name.startswith(".") else "folder of the system"


def tell_left_out(place: Path | str, left_out: Counter[str]) -> None:
    """Log how many files of each kind are left out, if any."""
    if left_out:
        log.info(f"{place}: left out {kinds_text(left_out)}, which are no images of a known format.")


def _but(left_out: Counter[str]) -> str:
    return f", only {kinds_text(left_out)}" if left_out else ""


def kinds_text(left_out: Counter[str]) -> str:
    """How many there are of each kind, as 3 .txt, 2 .mp4; all but the KINDS most frequent are counted together."""
    kinds = left_out.most_common()
    named = [f"{number:,} {kind}" for kind, number in kinds[:KINDS]]
    if rare := kinds[KINDS:]:
        named.append(f"{sum(number for _, number in rare):,} of {len(rare):,} other kinds")
    return ", ".join(named)


def _images(folder: Path | str, prefix: str, left_out: Counter[str]) -> Iterator[Found]:
    """The image files below a folder, unsorted; counts what is left out."""
    folders = [(os.fspath(folder), prefix)]
    while folders:  # no recursion, which fails below a thousand folders
        folder, prefix = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if is_image(entry.name) and stat.S_IFMT((status := _status(entry)).st_mode) in FILES:
                        yield prefix + entry.name, status.st_size, status.st_mtime_ns
                    elif is_folder(entry) and not is_system_folder(entry.name):
                        folders.append((entry.path, f"{prefix}{entry.name}/"))
                    elif entry.name in (PACKED, f"{os.path.basename(folder)}{BOXES}"):
                        continue
                    elif kind := _kind_of_folder(entry.name) if is_folder(entry) else kind_left_out(entry.path):
                        left_out[kind] += 1
                    else:
                        status = entry.stat()
                        yield prefix + entry.name, status.st_size, status.st_mtime_ns
        except OSError as error:
            if isinstance(error, FileNotFoundError) and error.filename == folder:
                continue
            raise UserError(f"{error.filename or folder} can't be read: {error.strerror}.") from None


def _status(entry: os.DirEntry) -> os.stat_result:
    """The status of a file; of a broken link, its own."""
    try:
        return entry.stat()
    except OSError:
        return entry.stat(follow_symlinks=False)


def _columns(found: list[Found]) -> tuple[list[str], np.ndarray]:
    """Names, and sizes and times int64 [2, n]: a few bytes for each of a million files, where tuples take hundreds."""
    return [name for name, _, _ in found], np.array([numbers for _, *numbers in found], np.int64).T
