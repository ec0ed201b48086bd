"""Full, read-only and missing disks as errors that say what was to be written, where, and how large."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiny_imagenet.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ELSEWHERE = "or choose another folder with --data.root."


@contextmanager
def disk_errors(path: Path, needed: int = 0) -> Iterator[None]:
    """Turn an OSError of the body, which writes at most `needed` bytes at `path`, into a UserError."""
    try:
        yield
    except OSError as error:
        size = f" ({needed:,} bytes)" if needed else ""
        advice = "Free some space there" if error.errno in FULL else "Make it writable"
        raise UserError(f"{path}{size} can't be written: {error.strerror or error}. {advice}, {ELSEWHERE}") from error


def require_free(folder: Path, needed: int) -> None:
    """Raise UserError where the disk of an existing folder has not `needed` bytes free."""
    with disk_errors(folder, needed):
        free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder} needs {needed:,} bytes, but only {free:,} are free there. Free some space, {ELSEWHERE}"
        )
