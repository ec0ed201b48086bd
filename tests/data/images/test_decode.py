"""Every kind of image becomes the right RGB pixels, or an error that names the file."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional as F

from tiny_imagenet.data.images.decode import decode_image
from tiny_imagenet.errors import UserError

SIZE = 16


def picture(mode="RGB", width=SIZE, height=SIZE):
    """A smooth random image, so that JPEG and resizing have something to work on."""
    small = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def plain(value, mode, **info):
    image = Image.new(mode, (SIZE, SIZE), value)
    image.info.update(info)
    return image


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("extension", ["JPEG", "tif"])
def test_pixels_are_those_of_pillow(tmp_path, mode, extension):
    path = tmp_path / f"a.{extension}"
    picture(mode).save(path)
    with Image.open(path) as image:
        assert image.mode == mode
        np.testing.assert_array_equal(decode_image(path, SIZE), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    ("image", "rgb"),
    [
        (plain(1, "1"), (255, 255, 255)),
        (plain(77, "L"), (77, 77, 77)),
        (plain((77, 0), "LA"), (255, 255, 255)),
        (plain((77, 255), "LA"), (77, 77, 77)),
        (plain((0, 100, 200, 255), "RGBA"), (0, 100, 200)),
        # 3/5 of the colour over 2/5 of white
        (plain((0, 100, 200, 153), "RGBA"), (102, 162, 222)),
        (plain(0, "P"), (0, 0, 0)),
        (plain(65535, "I;16"), (255, 255, 255)),
        (plain(257 * 100, "I;16"), (100, 100, 100)),
        (plain(257 * 100 + 129, "I;16"), (101, 101, 101)),
        (plain(3, "I;16"), (0, 0, 0)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else str(value),
)
def test_every_mode_becomes_rgb(tmp_path, image, rgb):
    image.save(tmp_path / "a.png")
    decoded = decode_image(tmp_path / "a.png", SIZE)
    assert decoded.shape == (SIZE, SIZE, 3) and decoded.dtype == np.uint8
    assert np.unique(decoded.reshape(-1, 3), axis=0).tolist() == [list(rgb)]


def test_a_transparent_palette_lies_over_white(tmp_path):
    plain(0, "P").save(tmp_path / "a.png", transparency=0)
    assert decode_image(tmp_path / "a.png", SIZE).min() == 255


@pytest.mark.parametrize("extension", ["gif", "webp", "png"])
def test_the_first_frame_of_an_animation_is_taken(tmp_path, extension):
    frames = [plain(colour, "RGB") for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / f"a.{extension}", save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(decode_image(tmp_path / f"a.{extension}", SIZE)[0, 0], [255, 0, 0], atol=3)


@pytest.mark.parametrize(
    ("orientation", "turned"), [(1, lambda p: p), (3, lambda p: p[::-1, ::-1]), (6, lambda p: np.rot90(p, -1))]
)
def test_images_are_turned_as_exif_says(tmp_path, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture().save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png", SIZE), turned(np.asarray(picture())))


@pytest.mark.parametrize(("width", "height"), [(96, 48), (48, 96), (40, 40), (8, 8)])
def test_other_sizes_are_resized_and_cropped_as_by_torchvision(tmp_path, width, height):
    image = picture(width=width, height=height)
    image.save(tmp_path / "a.png")
    expected = np.asarray(F.center_crop(F.resize(image, [SIZE], antialias=True), [SIZE, SIZE]))
    difference = abs(decode_image(tmp_path / "a.png", SIZE).astype(int) - expected)
    # Cropped first, the filter sees nothing beyond the crop, so that its outermost pixels differ.
    assert difference[2:-2, 2:-2].max() <= 1


def jpeg(**options):
    data = io.BytesIO()
    picture(width=64, height=64).save(data, "JPEG", **options)
    return data.getvalue()


def gigantic():
    data = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(data, "PNG")
    return data.getvalue()


def floating():
    data = io.BytesIO()
    Image.new("F", (SIZE, SIZE)).save(data, "TIFF")
    return data.getvalue()


def huge_tile():
    """A TIFF of 16 by 16 pixels in one tile of 900 million, which libtiff makes whole; it deflates to a megabyte."""
    tile = zlib.compress(bytes(10**6))
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: 30_000, 323: 30_000, 324: 200, 325: len(tile)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries).ljust(200, b"\0") + tile


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "content is not JPEG, PNG"),
        (b"<html>404</html>", "content is not JPEG, PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n", "content is not JPEG, PNG"),
        (jpeg()[:300], "Truncated File Read"),
        (jpeg()[:-300], "truncated"),
        (gigantic(), "10000×10000 pixels"),
        (floating(), "floating-point"),
        (huge_tile(), "tiles have more than 89,478,485 pixels"),
        (None, "No such file"),
    ],
    ids=["empty", "html", "eps", "headless", "truncated", "gigantic", "float", "tile", "missing"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_cant_be_decoded_is_named(tmp_path, content, message):
    path = tmp_path / "broken.JPEG"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"broken.JPEG can't be decoded: .*({message})"):
        decode_image(path, SIZE)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"]),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6),
    st.integers(0, 400),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_images_decode_or_are_named(tmp_path_factory, kind, changes, lost):
    data = io.BytesIO()
    picture().save(data, kind)
    damaged = bytearray(data.getvalue())
    for place, value in changes:
        damaged[place % len(damaged)] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(damaged[: len(damaged) - lost])
    try:
        assert decode_image(path, SIZE).shape == (SIZE, SIZE, 3)
    except UserError as error:
        assert os.fspath(path) in str(error)
