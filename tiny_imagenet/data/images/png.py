"""What Pillow does not tell of a PNG file: its significant bits. And PNG files without large texts and profiles.

The format: https://www.w3.org/TR/png-3/
"""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LONGEST = 2**20  # bytes of a text or a profile; Pillow refuses longer ones
# How many texts stand before a chunk's compressed bytes, each with a zero byte at its end, and how many bytes follow.
TEXTS = {b"tEXt": (0, 0), b"iCCP": (1, 1), b"zTXt": (1, 1), b"iTXt": (0, 0)}


def significant_bits(path: Path | str) -> int | None:
    """The bits of each sample that the original had (sBIT), the most of all channels; None if the file is silent."""
    with open(path, "rb") as file:
        for kind, length in _chunks(file):
            if kind == b"sBIT" and length <= 4:
                return max(file.read(length), default=None)
            if kind == b"IDAT":
                break
    return None


def without_large_texts(path: Path | str) -> io.BytesIO | None:
    """A copy in memory without the texts and colour profiles that are longer than LONGEST; None if there are none."""
    kept, dropped = [SIGNATURE], False
    with open(path, "rb") as file:
        for kind, length in _chunks(file):
            content = file.read(length + 4)
            if kind in TEXTS and _is_large(kind, content[:-4]):
                dropped = True
            else:
                kept.append(struct.pack(">I4s", length, kind) + content)
    return io.BytesIO(b"".join(kept)) if dropped else None


def _is_large(kind: bytes, content: bytes) -> bool:
    if len(content) > LONGEST:
        return True
    texts, more = TEXTS[kind]
    if kind == b"iTXt":
        keyword, _, rest = content.partition(b"\0")
        if rest[:1] != b"\1":  # not compressed
            return False
        content, texts, more = rest[2:], 2, 0
    if not texts:
        return False
    inflate = zlib.decompressobj()
    try:
        inflate.decompress(content.split(b"\0", texts)[-1][more:], LONGEST)
    except zlib.error:
        return False
    return bool(inflate.unconsumed_tail)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The kind and length of each chunk, with the file at its content; nothing for a file that is not PNG."""
    if file.read(len(SIGNATURE)) != SIGNATURE:
        return
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        after = file.tell() + length + 4
        yield kind, length
        file.seek(after)
