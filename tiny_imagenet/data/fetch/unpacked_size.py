"""How much an archive may unpack to: a limit against decompression bombs, which the user can raise."""

from pathlib import Path

from tiny_imagenet.data.images.limits import megabytes
from tiny_imagenet.errors import UserError

LIMIT = "TINY_IMAGENET_UNPACKED_MB"  # environment variable: the limit in MB, whatever the size of the archive
# Without it: at most MAX_BYTES, and beyond SMALL_BYTES at most MAX_RATIO times the size of the archive.
MAX_BYTES = 10 * 10**9
MAX_RATIO = 20
SMALL_BYTES = 100 * 10**6


def most_unpacked(archive_bytes: int) -> int:
    """How many bytes an archive of so many bytes may unpack to."""
    return megabytes(LIMIT) or min(MAX_BYTES, max(SMALL_BYTES, MAX_RATIO * archive_bytes))


def require_no_bomb(path: Path, unpacked: int, most: int) -> None:
    """Raise UserError if the archive `path` unpacks to more than `most` bytes."""
    if unpacked > most:
        raise UserError(
            f"{path} unpacks to more than {most:,} bytes and is refused as a decompression bomb. If you trust it, set "
            f"the environment variable {LIMIT} to the megabytes that it may unpack to."
        )
