"""Compressed files, against the programs that write them and Python's own readers."""

import bz2
import io
import lzma
import sys
from zlib import crc32

import numpy as np
import pytest

from tiny_imagenet.data.fetch.archive import extracted
from tiny_imagenet.data.fetch.decompress import decompressed
from tiny_imagenet.errors import UserError

CONTENT = np.random.default_rng(0).integers(0, 4, 3_000_000, np.uint8).tobytes()
COMPRESS = {"bz2": bz2.compress, "xz": lzma.compress}


@pytest.fixture(params=COMPRESS)
def path(request, tmp_path):
    (tmp_path / "file").write_bytes(COMPRESS[request.param](CONTENT))
    return tmp_path / "file"


def test_it_is_read_as_a_plain_file_is(path):
    plain, rng = io.BytesIO(CONTENT), np.random.default_rng(1)
    with decompressed(path) as file:
        for position, size in zip(rng.integers(0, 3_100_000, 12), rng.integers(0, 700_000, 12), strict=True):
            file.seek(position), plain.seek(position)
            assert file.read(size) == plain.read(size)
            assert file.read(3) == plain.read(3)
        file.seek(0)
        assert file.read() == CONTENT


@pytest.mark.parametrize("kind", COMPRESS)
def test_several_streams_are_one_file(tmp_path, kind):
    """As pbzip2 and `xz` of several parts write them; xz may pad streams with zeros."""
    parts = [COMPRESS[kind](CONTENT[:1_000_000]), COMPRESS[kind](b""), COMPRESS[kind](CONTENT[1_000_000:])]
    (tmp_path / "file").write_bytes((bytes(8) if kind == "xz" else b"").join(parts) + bytes(4))
    with decompressed(tmp_path / "file") as file:
        assert file.read() == CONTENT


def test_a_file_that_stops_in_the_middle_is_an_error(path):
    path.write_bytes(path.read_bytes()[:-20])
    with decompressed(path) as file, pytest.raises(EOFError, match="before their end mark"):
        file.read()


def test_a_file_that_asks_for_much_memory_is_refused(tmp_path):
    """A gigabyte of history, in a file of 100 bytes. A block begins with 0x21, 1, n: 2 << (n / 2 + 11)."""
    content = bytearray(lzma.compress(b"small", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]))
    header = content[12 : 12 + 4 * (content[12] + 1)]
    header = header.replace(b"\x21\x01\x10", b"\x21\x01\x24")
    content[12 : 12 + len(header)] = header[:-4] + crc32(header[:-4]).to_bytes(4, "little")
    (tmp_path / "file").write_bytes(content)
    with decompressed(tmp_path / "file") as file, pytest.raises(lzma.LZMAError, match="Memory usage limit exceeded"):
        file.read()


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python can read it")
def test_zstd_is_told_in_one_line(tmp_path):
    (tmp_path / "set.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(100))
    with pytest.raises(
        UserError, match=r"set.tar.zst is compressed by zstd, which Python can read from 3.14 on.*--data."
    ):
        extracted([str(tmp_path / "set.tar.zst")], None, tmp_path)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="Python can't read it")
def test_zstd_is_read(tmp_path):
    from compression import zstd

    (tmp_path / "file").write_bytes(zstd.compress(CONTENT[: 10**6]) + zstd.compress(CONTENT[10**6 :]))
    with decompressed(tmp_path / "file") as file:
        assert file.read() == CONTENT
