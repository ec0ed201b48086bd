"""The bytes of a compressed file, whichever way it is compressed, in little memory."""

import bz2
import gzip
import io
import lzma
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from tiny_imagenet.errors import UserError

CHUNK = 1 << 18  # bytes
MAX_MEMORY = 1 << 28  # bytes that a decompressor may ask for; xz -9 asks for 1 << 26


def begins(path: Path, magic: bytes) -> bool:
    """Whether a file begins with these bytes."""
    with open(path, "rb") as file:
        return file.read(len(magic)) == magic


def decompressed(path: Path) -> BinaryIO:
    """Open a file that is compressed by gzip, bzip2, xz or zstd, as its first bytes tell, or not at all.

    Raises:
        UserError: it is zstd, and this Python has none. Damage raises errors of many kinds, on reading.
    """
    if begins(path, b"\x1f\x8b"):
        return gzip.open(path)
    if begins(path, b"BZh"):
        return _stream(path, bz2.BZ2Decompressor)
    if begins(path, b"\xfd7zXZ\0"):
        return _stream(path, partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, memlimit=MAX_MEMORY))
    if begins(path, b"\x28\xb5\x2f\xfd"):
        return _stream(path, _zstd(path))
    return open(path, "rb")


def _zstd(path: Path) -> Callable[[], Any]:
    try:
        from compression import zstd
    except ImportError:
        raise UserError(
            f"{path} is compressed by zstd, which Python can read from 3.14 on. Extract it (tar --zstd -xf FILE) "
            "and use the folder: --data.root FOLDER --data.archive null."
        ) from None
    most = {zstd.DecompressionParameter.window_log_max: MAX_MEMORY.bit_length() - 1}
    return partial(zstd.ZstdDecompressor, options=most)


def _stream(path: Path, new: Callable[[], Any]) -> BinaryIO:
    return io.BufferedReader(_Decompressed(path, new), CHUNK)


class _Decompressed(io.RawIOBase):
    """A compressed file as a stream, since bz2.open and lzma.open do not limit the memory that a file may ask for.

    Args:
        new: makes a decompressor; a file may have several streams, one after the other, and zeros in between.
    """

    def __init__(self, path: Path, new: Callable[[], Any]) -> None:
        self._file, self._new = open(path, "rb"), new
        self._decompressor, self._position = new(), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET:
            raise io.UnsupportedOperation("only from the start")
        if offset < self._position:
            self._file.seek(0)
            self._decompressor, self._position = self._new(), 0
        while self._position < offset and self.read(min(CHUNK, offset - self._position)):
            pass
        return self._position

    def readinto(self, buffer: memoryview) -> int:
        data = b""
        while not data:
            more = b""
            if self._decompressor.eof:
                more = self._decompressor.unused_data.lstrip(b"\0")
                while not more and (read := self._file.read(CHUNK)):
                    more = read.lstrip(b"\0")
                if not more:
                    return 0
                self._decompressor = self._new()
            elif self._decompressor.needs_input and not (more := self._file.read(CHUNK)):
                raise EOFError("compressed data end before their end mark")
            data = self._decompressor.decompress(more, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
