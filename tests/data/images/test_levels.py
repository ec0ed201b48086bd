"""More than 8 bits a channel: the levels that come of them, computed by hand and by NumPy."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.helpers.pngs import chunk, png
from tiny_imagenet.data.images.decode import decode_and_tell, decode_image
from tiny_imagenet.errors import UserError

SIZE = 64


def ramp(top):
    """All levels from 0 to `top`, spread over SIZE x SIZE pixels, int64."""
    return np.arange(SIZE * SIZE).reshape(SIZE, SIZE) * top // (SIZE * SIZE - 1)


def rounded(levels, top):
    return (levels * 255 * 2 + top) // (2 * top)  # half up, in integers


def grey_png(levels, *chunks):
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    return png(SIZE, SIZE, 16, 0, rows, *chunks)


def colour_png(levels, kind):
    """A 16-bit PNG of levels [H, W, C]; each row is stored as differences from the pixel to the left."""
    data = levels.astype(">u2").view(np.uint8).reshape(SIZE, -1)
    bytes_of_a_pixel = 2 * levels.shape[2]
    before = np.concatenate([np.zeros((SIZE, bytes_of_a_pixel), np.uint8), data[:, :-bytes_of_a_pixel]], axis=1)
    return png(SIZE, SIZE, 16, kind, b"".join(b"\1" + row.tobytes() for row in data - before))


def tiff(levels, order="<", compress=bytes, tags=()):
    """A TIFF of levels [H, W] or [H, W, 3], of their own kind of number."""
    bits, data = 8 * levels.dtype.itemsize, compress(levels.astype(levels.dtype.newbyteorder(order)).tobytes())
    channels = 1 if levels.ndim == 2 else levels.shape[2]
    entries = {
        256: (4, SIZE),
        257: (4, SIZE),
        258: (3, bits),
        259: (3, 1 if compress is bytes else 8),
        262: (3, 1 if channels == 1 else 2),
    }
    entries |= {273: (4, 1000), 277: (3, channels), 278: (4, SIZE), 279: (4, len(data))}
    entries |= {339: (3, {"u": 1, "i": 2, "f": 3}[levels.dtype.kind])} | dict(tags)
    packed = b""
    for tag, (kind, value) in sorted(entries.items()):
        if tag == 258 and channels == 3:
            packed += struct.pack(order + "HHII", tag, kind, 3, 990)
        elif kind == 3:
            packed += struct.pack(order + "HHIHH", tag, kind, 1, value, 0)
        else:
            packed += struct.pack(order + "HHII", tag, kind, 1, value)
    start = struct.pack(order + "2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(entries)) + packed
    return start.ljust(990, b"\0") + struct.pack(order + "3H", bits, bits, bits).ljust(10, b"\0") + data


def decoded(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    pixels, guess = decode_and_tell(tmp_path / "a", SIZE)
    return pixels.astype(np.int64), guess


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_grey_of_16_bits_keeps_its_levels(tmp_path, bits):
    top = 2**bits - 1
    pixels, guess = decoded(tmp_path, grey_png(ramp(top)))
    np.testing.assert_array_equal(pixels, np.repeat(rounded(ramp(top), top)[..., None], 3, axis=2))
    assert guess == ("" if bits == 16 else f"0..{top}")


@pytest.mark.parametrize(("highest", "top"), [(4095, 4095), (900, 4095), (4096, 65535)])
def test_significant_bits_are_believed(tmp_path, highest, top):
    pixels, guess = decoded(tmp_path, grey_png(ramp(highest), chunk(b"sBIT", bytes([12]))))
    np.testing.assert_array_equal(pixels[..., 0], rounded(ramp(highest), top))
    assert not guess


@pytest.mark.parametrize("top", [4095, 65535])
@pytest.mark.parametrize("kind", [2, 4, 6], ids=["RGB", "LA", "RGBA"])
def test_colours_of_16_bits_keep_their_levels(tmp_path, kind, top):
    channels = {2: 3, 4: 2, 6: 4}[kind]
    levels = np.stack([np.roll(ramp(top), 7 * channel, axis=1) for channel in range(channels)], axis=2)
    pixels, _ = decoded(tmp_path, colour_png(levels, kind))
    colours = rounded(levels, top)
    if kind == 2:
        np.testing.assert_array_equal(pixels, colours)
        return
    colours, alpha = np.broadcast_to(colours[..., :-1], (SIZE, SIZE, 3)), colours[..., -1:] / 255
    # Over white; Pillow blends in integers.
    assert abs(pixels - (alpha * colours + (1 - alpha) * 255)).max() <= 1


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("levels", "bottom", "top", "stated"),
    [
        (ramp(4095).astype("u2"), 0, 4095, False),
        (ramp(65535).astype("u2"), 0, 65535, True),
        (ramp(255).astype("i4"), 0, 255, False),
        (ramp(70_000).astype("i4"), 0, 2**24 - 1, False),
        (ramp(4000).astype("i4") - 1000, -1000, 3000, False),
        ((ramp(1000) / 1000).astype("f4"), 0, 1, False),
        ((ramp(1000) / 4).astype("f4"), 0, 255, False),
        ((ramp(1000) * 1000.0 - 7).astype("f4"), -7, 999_993, False),
    ],
    ids=["12 bits", "16 bits", "8 in 32", "32 bits", "signed", "0..1", "0..250", "any"],
)
def test_greys_of_tiff(tmp_path, order, levels, bottom, top, stated):
    pixels, guess = decoded(tmp_path, tiff(levels, order))
    expected = (levels.astype(np.float64) - bottom) / (top - bottom) * 255
    assert abs(pixels[..., 0] - expected).max() <= 0.5 + 1e-6
    assert (not guess) == stated


def test_unsigned_levels_of_32_bits(tmp_path):
    levels = (ramp(4095) * (2**20 + 256)).astype("u4")
    pixels, guess = decoded(tmp_path, tiff(levels))
    assert abs(pixels[..., 0] - levels / (2**32 - 1) * 255).max() <= 0.5 + 1e-6
    assert guess == "0..4294967295"


@pytest.mark.parametrize("compress", [bytes, zlib.compress], ids=["plain", "deflated"])
@pytest.mark.parametrize("order", "<>")
def test_colours_of_tiff(tmp_path, order, compress):
    levels = np.stack([ramp(4095), ramp(4095)[::-1], ramp(4095).T], axis=2)
    pixels, guess = decoded(tmp_path, tiff(levels.astype("u2"), order, compress))
    np.testing.assert_array_equal(pixels, rounded(levels, 4095))
    assert guess == "0..4095"


def test_what_a_tiff_states_of_its_range(tmp_path):
    pixels, guess = decoded(tmp_path, tiff(ramp(900).astype("u2"), tags={281: (3, 1000)}))
    np.testing.assert_array_equal(pixels[..., 0], rounded(ramp(900), 1000))
    assert not guess
    white_first, _ = decoded(tmp_path, tiff(ramp(65535).astype("u2"), tags={262: (3, 0)}))
    np.testing.assert_array_equal(white_first[..., 0], 255 - rounded(ramp(65535), 65535))


def test_the_highest_level_of_a_pgm(tmp_path):
    data = b"P5 64 64 1000\n" + ramp(1000).astype(">u2").tobytes()
    pixels, guess = decoded(tmp_path, data)
    assert abs(pixels[..., 0] - ramp(1000) * 255 / 1000).max() <= 0.51
    assert not guess


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_pixels_that_are_not_finite_are_refused(tmp_path, bad):
    levels = ramp(1).astype("f4")
    levels[3, 4] = bad
    with pytest.raises(UserError, match="not finite"):
        decoded(tmp_path, tiff(levels))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_grey_lies_over_white(tmp_path, bits):
    """Every level in a row of its own kind of PNG, one of which is transparent."""
    levels = np.linspace(0, 2**bits - 1, 16).astype(np.int64)
    row = int("".join(f"{level:0{bits}b}" for level in levels), 2).to_bytes(2 * bits)
    data = png(16, 16, bits, 0, 16 * (b"\0" + row), chunk(b"tRNS", struct.pack(">H", levels[5])))
    (tmp_path / "a").write_bytes(data)
    expected = np.where(levels == levels[5], 255, rounded(levels, 2**bits - 1))
    np.testing.assert_array_equal(decode_image(tmp_path / "a", 16)[3, :, 1], expected)


def test_a_transparent_colour_of_16_bits_is_that_colour_only(tmp_path):
    levels = np.stack([ramp(65535)] * 3, axis=2)
    data = colour_png(levels, 2)
    clear = levels[10, 10]
    end_of_header = 8 + 25
    data = data[:end_of_header] + chunk(b"tRNS", clear.astype(">u2").tobytes()) + data[end_of_header:]
    pixels, _ = decoded(tmp_path, data)
    expected = rounded(levels, 65535)
    expected[10, 10] = 255
    np.testing.assert_array_equal(pixels, expected)


def test_deep_images_are_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(ramp(65535).astype(np.uint16)).save(data := io.BytesIO(), "PNG", exif=exif)
    pixels, _ = decoded(tmp_path, data.getvalue())
    np.testing.assert_array_equal(pixels[..., 0], np.rot90(rounded(ramp(65535), 65535), -1))


def test_what_pillow_would_garble_is_refused(tmp_path):
    planes = np.stack([ramp(65535)] * 3, axis=2).astype("u2")
    with pytest.raises(UserError, match="stored one after another"):
        decoded(tmp_path, tiff(planes, tags={284: (3, 2), 273: (4, 1000)}))
