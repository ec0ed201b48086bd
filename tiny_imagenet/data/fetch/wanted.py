"""Which files of an archive are extracted: data by their names, and images by whatever name, by their first bytes."""

import itertools
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from tiny_imagenet.data.images.content import format_in
from tiny_imagenet.data.images.scan import EXTENSIONS, RAW, kinds_text

log = logging.getLogger(__name__)

# The kinds of files in data sets. A config may choose the folder to extract to, so no file is extracted that a program
# might run or read as its settings.
DATA = (*EXTENSIONS, ".txt", ".csv", ".json", ".xml", ".html", ".bin", ".parquet")
CIFAR = re.compile(r"(?:.*/)?(?:data_batch_\d+|test_batch|batches\.meta)")  # of its Python version


def extension_to_add(path: str, head: Callable[[], bytes]) -> str | None:
    """What to add to the name of a file that is extracted; None if it is not.

    An image whose name does not say so gets the extension of its format: what begins like an image may be a program or
    settings further on, but not under such a name.

    Args:
        head: reads the file's first bytes; called only if they decide.
    """
    if is_hidden(path):
        return None
    if path.lower().endswith(DATA) or CIFAR.fullmatch(path):
        return ""
    kind = None if path.lower().endswith(RAW) else format_in(head())
    return f".{kind.lower()}" if kind else None


def is_hidden(path: str) -> bool:
    """Whether a file or folder is hidden, or in a folder that is, or what macOS adds to archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def names_to_extract(found: Sequence[tuple[str, str | None]]) -> list[str | None]:
    """The name that each member of an archive gets, None for those left out.

    Args:
        found: each member's path, and what to add to it.
    """
    taken, renamed = {path for path, _ in found}, {}
    for path, extension in found:
        if extension:
            names = itertools.chain([path], (f"{path}_{number}" for number in itertools.count(1)))
            renamed[path] = next(name + extension for name in names if name + extension not in taken)
            taken.add(renamed[path])
    return [None if extension is None else renamed.get(path, path) for path, extension in found]


def tell_unusual(named: Sequence[tuple[str, str | None]], archive: Path) -> None:
    """Log which members of an archive are left out or renamed, given by their paths and the names that they get."""
    if skipped := [path for path, name in named if name is None]:
        kinds = kinds_text(Counter(map(_kind, skipped)))
        log.info(f"{archive}: skipped {len(skipped):,} file(s) that are not data, such as {skipped[0]!r} ({kinds}).")
    if renamed := [name for path, name in named if name not in (None, path)]:
        log.info(
            f"{archive}: {len(renamed):,} image(s) without an image's extension get one by their content, such as "
            f"{renamed[0]!r}."
        )


def _kind(path: str) -> str:
    return "hidden" if is_hidden(path) else os.path.splitext(path)[1].lower() or "without extension"
