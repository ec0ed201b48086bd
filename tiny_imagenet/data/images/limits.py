"""How much memory and time one image file may take, against files that are made to exhaust them."""

import math
import os
import re
import threading
from pathlib import Path

from PIL import Image

from tiny_imagenet.errors import UserError
from tiny_imagenet.files import size_text

MEMORY = "TINY_IMAGENET_IMAGE_MB"  # environment variable: the memory that the pixels of a file may take, in MB
USUAL_MEMORY = 1000 * 10**6  # bytes
TIME = "TINY_IMAGENET_IMAGE_SECONDS"  # environment variable: the processor time that a file may take
USUAL_TIME = 60
SMALL = 2**18  # pixels that any limit allows
SCANS = 100  # of a progressive JPEG, which has ten or so
# TIFF's tags of a tile's width and length. A tile is decoded whole, even if it is larger than the image.
TILE = (322, 323)


def require_memory(image: Image.Image, deep: bool, full: int) -> None:
    """Raise ValueError if an image takes more memory than is allowed.

    Args:
        image: as it will be loaded, perhaps at a fraction of its size.
        deep: whether it has more than 8 bits a channel.
        full: its pixels in the file.
    """
    pixels = math.prod(image.size)
    if image.format == "TIFF":
        pixels = max(pixels, math.prod(image.tag_v2.get(tag, 1) for tag in TILE))
    if pixels <= SMALL and full <= SMALL:
        return
    of_a_pixel = 1 if image.mode in ("1", "L", "P") else 4
    if deep:
        of_a_pixel = 24 if image.mode.startswith("RGB") else 9  # with copies; see `levels`
    needed = pixels * of_a_pixel
    if image.info.get("progressive"):  # libjpeg keeps all coefficients, of two bytes each
        needed += 2 * len(image.getbands()) * full
    if needed > (limit := memory_limit()):
        raise ValueError(
            f"{pixels:,} pixels take {size_text(needed)} of memory, and {size_text(limit)} are allowed: if you trust "
            f"the file, set the environment variable {MEMORY}={math.ceil(needed / 1e6)}"
        )


def memory_limit() -> int:
    """In bytes."""
    return megabytes(MEMORY) or USUAL_MEMORY


def time_limit() -> int:
    """Of a file, in seconds of processor time."""
    return _from_environment(TIME, "seconds") or USUAL_TIME


def too_slow() -> str:
    """Why a file beyond the time limit can't be decoded."""
    seconds = time_limit()
    return f"it takes more than {seconds} s: if you trust the file, set the environment variable {TIME}={10 * seconds}"


def megabytes(variable: str) -> int | None:
    """What an environment variable allows, in bytes; None if it is not set."""
    allowed = _from_environment(variable, "megabytes")
    return allowed and allowed * 10**6


def _from_environment(variable: str, unit: str) -> int | None:
    text = os.environ.get(variable)
    if not text:
        return None
    if not re.fullmatch("[0-9]{1,9}", text) or not int(text):
        raise UserError(f"The environment variable {variable} must be a number of {unit}, not {text!r}.")
    return int(text)


def require_few_scans(path: Path | str) -> None:
    # No marker can occur within the compressed bytes.
    if (scans := Path(path).read_bytes().count(b"\xff\xda")) > SCANS:
        raise ValueError(f"it has {scans:,} scans, each of which takes as long as the image; {SCANS} are allowed")


class _WithoutPillowsLimit:
    """Lifts Pillow's limit on pixels, which is global, while a thread is in the body; `require_memory` replaces it."""

    def __init__(self) -> None:
        self.lock, self.users, self.limit = threading.Lock(), 0, None

    def __enter__(self) -> None:
        with self.lock:
            if not self.users:
                self.limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self.users += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.users -= 1
            if not self.users:
                Image.MAX_IMAGE_PIXELS = self.limit


without_pillows_limit = _WithoutPillowsLimit()
