"""Files and folders that are never half written, and disks that are full or read-only."""

import csv
import ctypes
import errno
import io
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from tiny_imagenet.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ELSEWHERE = "or choose another folder with --data.root."


# Whole or not at all


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` for the body to write a file or folder to, which then takes the place of `path`.

    It reaches the disk before it is renamed, and its name after, so that a power cut leaves the old content or the new.
    If the body raises, `path` stays as it is and what was written is removed. A process that is killed leaves it for
    `remove_leftovers`.
    """
    beside, old = _beside(path, "partial"), _beside(path, "old")
    try:
        yield beside
        if beside.is_dir():
            _tree_to_disk(beside)
        else:
            to_disk(beside)
        try:
            if beside.is_dir() and path.exists():
                os.rename(path, old)
            os.replace(beside, path)
        except BaseException:
            if old.exists() and not path.exists():
                os.rename(old, path)
            raise
        to_disk(path.parent)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk names none
        raise
    finally:
        _remove(beside)
        if path.exists():
            _remove(old)


@contextmanager
def continuing(folder: Path) -> Iterator[Path]:
    """Yield a folder beside `folder`, which is not there yet, for the body to fill; it then gets that name.

    What the body wrote stays if it raises or the process is killed, and the next call yields it again, under a name
    with that process's number, so that workers that outlive a killed process no longer find it. Nobody else may write
    there meanwhile.
    """
    beside = _beside(folder, "partial")
    left = sorted((path for path, _ in _leftovers(folder)), key=lambda path: path.stat().st_mtime_ns)
    for each in left[:-1]:
        _remove(each)
    for latest in left[-1:]:
        os.rename(latest, beside)
    beside.mkdir(exist_ok=True)
    try:
        yield beside
    except BaseException:
        with suppress(OSError):
            beside.rmdir()  # if the body wrote nothing
        raise
    _tree_to_disk(beside)
    os.rename(beside, folder)
    to_disk(folder.parent)


def replace_together(folder: Path, contents: Mapping[str, bytes | str]) -> None:
    """Write files that belong together: nothing is replaced before all of them have reached the disk.

    The last one vouches for the others: while these are replaced it is missing, so that it is never seen with those of
    an earlier time.

    Args:
        contents: by the files' names; text is written as `replace_text` does.
    """
    paths = [folder / name for name in contents]
    for path in paths:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as renames:  # in the opposite order of what is entered
        for path, content in reversed(list(zip(paths, contents.values(), strict=True))):
            beside = renames.enter_context(replacing(path))
            beside.write_bytes(content if isinstance(content, bytes) else _encoded(content))
            to_disk(beside)
        paths[-1].unlink(missing_ok=True)
        to_disk(folder)


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a file as a whole, in place of what was there; its folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        beside.write_bytes(content)


def replace_text(path: Path, text: str) -> None:
    """As `replace_bytes`, in UTF-8; file names that are not UTF-8 are written as they are."""
    replace_bytes(path, _encoded(text))


def read_json(path: Path) -> Any:
    """What a small file of this project's holds.

    Raises:
        OSError: it can't be read.
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(path.read_bytes())
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None


def replace_csv(path: Path, columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write a CSV file as a whole, in place of what was there; a column that a row lacks is left empty.

    Rows are taken one by one, so that a long file needs no memory.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside, open(beside, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        _write_csv(file, columns, rows)


def csv_text(columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> str:
    """What `replace_csv` writes."""
    text = io.StringIO()
    _write_csv(text, columns, rows)
    return text.getvalue()


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _write_csv(file: TextIO, columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> None:
    writer = csv.DictWriter(file, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes left beside `path` in `replacing`; call it while nobody else can write there.

    A process that was killed between its two renames leaves no `path`: the old content becomes it again.
    """
    for each, kind in _leftovers(path):
        if kind == "old" and not path.exists():
            os.rename(each, path)
        else:
            _remove(each)


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}-{os.getpid()}")


def _leftovers(path: Path) -> list[tuple[Path, str]]:
    """What lies beside `path` under a name of `_beside` for any process, and its kind."""
    leftover = re.compile(rf"\.{re.escape(path.name)}\.(partial|old)-\d+.*")
    with os.scandir(path.parent) as entries:
        return [(Path(entry.path), match[1]) for entry in entries if (match := leftover.fullmatch(entry.name))]


def to_disk(path: Path) -> None:
    """Return when a file's content, or the names in a folder, have reached the disk: a power cut then loses nothing."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network disks can't do so for a folder. These are the errors that PostgreSQL's fsync_fname ignores then.
        if error.errno not in (errno.EBADF, errno.EINVAL) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def _tree_to_disk(folder: Path) -> None:
    """As `to_disk`, for all that is in a folder: by a single call where the system has one, since 120,000 are slow."""
    libc = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    if hasattr(libc, "syncfs"):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            if libc.syncfs(descriptor):
                raise OSError(number := ctypes.get_errno(), os.strerror(number), str(folder))
        finally:
            os.close(descriptor)
        return
    for path in (*folder.rglob("*"), folder):
        to_disk(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


# Disks that are full or read-only


def require_free(folder: Path, needed: int) -> None:
    """Raise UserError where the disk of an existing folder has fewer than `needed` bytes free."""
    with disk_errors(folder, needed):
        free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder} needs {size_text(needed)}, but only {size_text(free)} are free there. Free some space, "
            f"{ELSEWHERE}"
        )


@contextmanager
def disk_errors(path: Path, needed: int = 0) -> Iterator[None]:
    """Turn an OSError of the body, which writes at most `needed` bytes at `path`, into a UserError."""
    try:
        yield
    except OSError as error:
        size = f" ({size_text(needed)})" if needed else ""
        advice = "Free some space there" if error.errno in FULL else "Make it writable"
        raise UserError(f"{path}{size} can't be written: {error.strerror or error}. {advice}, {ELSEWHERE}") from error


def size_text(size: int) -> str:
    """A number of bytes as people read it: 262.3 MB."""
    if size < 1000:
        return f"{size} bytes"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if round(size, 1) < 1000 or unit == "GB":
            return f"{size:,.1f} {unit}"
