"""Random images: what comes of them is right, or refused with a message."""

import io
import itertools
import os
import shutil
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.fuzzing import DAMAGE, EXAMPLES, damaged, fuzz, kind_of
from tiny_imagenet.data.images.decode import UndecodableError, decode_image
from tiny_imagenet.data.images.packed import pack
from tiny_imagenet.data.images.scan import scan_flat
from tiny_imagenet.errors import UserError

SIZE = 16  # pixels
EXIF = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"  # to be turned by 90 degrees
PACKED = [{"compression": name} for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")]
# Modes of each kind, and ways to save them.
KINDS = {
    "JPEG": (["L", "RGB", "CMYK"], [{}, {"progressive": True}, {"exif": EXIF}]),
    "PNG": (["1", "L", "LA", "P", "RGB", "RGBA", "I;16"], [{}, {"transparency": 0}, {"save_all": True}]),
    "GIF": (["L", "P"], [{}, {"save_all": True}, {"transparency": 0}]),
    "BMP": (["1", "L", "P", "RGB", "RGBA"], [{}]),
    "WEBP": (["RGB", "RGBA"], [{}, {"lossless": True}, {"save_all": True}]),
    "TIFF": (["1", "L", "LA", "RGB", "RGBA", "CMYK", "I;16", "I", "P", "YCbCr"], [{}, *PACKED]),
    "PPM": (["1", "L", "RGB", "I;16"], [{}]),
}


def images():
    """A small image of each kind, mode and way to save."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    for kind, (modes, ways) in KINDS.items():
        for mode, options in itertools.product(modes, ways):
            if options.get("compression") == "jpeg" and mode not in ("L", "RGB", "CMYK", "YCbCr"):
                continue  # Pillow 13 refuses; those before it spoil their memory.
            image = Image.fromarray(noise).convert("L" if mode.startswith("I") else "RGB").convert(mode)
            more = {"append_images": [image.rotate(90)]} if options.get("save_all") else {}
            with suppress(OSError, ValueError, TypeError):  # no such combination
                image.save(data := io.BytesIO(), kind, **options, **more)
                Image.open(data).load()  # Pillow 12 cannot read all that it writes.
                yield data.getvalue()
    yield b"P3\n2 2\n255\n" + b"1 2 3 " * 4
    yield b"P1\n3 2\n1 0 1 0 1 0\n"


def with_checksums(data):
    """A PNG whose chunks have the right sums, which its damage then does not give away."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    at, parts = 8, [data[:8]]
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        parts += [data[at:end], struct.pack(">I", zlib.crc32(data[at + 4 : end]))]
        at = end + 4
    return b"".join(parts)


@st.composite
def damaged_images(draw):
    data, kept = draw(st.sampled_from(IMAGES)), draw(st.sampled_from([0, 8, 16, 64]))
    data = data[:kept] + damaged(data[kept:], draw(DAMAGE))
    return with_checksums(data) if draw(st.booleans()) else data


IMAGES = list(images())


@pytest.mark.parametrize("examples", EXAMPLES)
def test_images(tmp_path, examples):
    folder, cache = tmp_path / "images", tmp_path / "packed"
    folder.mkdir()

    def check(data, lot):
        path = folder / "0.png"
        path.write_bytes(data)
        try:
            pixels = decode_image(path, SIZE)
            assert pixels.shape == (SIZE, SIZE, 3) and pixels.dtype == np.uint8
            outcome = "decoded"
        except UndecodableError as error:
            assert str(path) in str(error)
            outcome, reason = kind_of(error), error.reason
        if lot == 0:
            try:
                packed = pack(scan_flat(folder), SIZE, cache)
                np.testing.assert_array_equal(packed.images[0], pixels)
            except UserError as error:
                assert f"{path} can't be decoded: {reason}." in str(error)
                assert all(name == "images" or name.startswith(".packed.partial-") for name in os.listdir(tmp_path))
            for left in [cache, *tmp_path.glob(".packed.partial-*")]:
                shutil.rmtree(left, ignore_errors=True)
        return outcome

    fuzz(check, examples, damaged_images(), st.integers(0, 99))


def test_images_that_are_whole_decode(tmp_path):
    for data in IMAGES:
        (tmp_path / "a.png").write_bytes(data)
        assert decode_image(tmp_path / "a.png", SIZE).shape == (SIZE, SIZE, 3)
