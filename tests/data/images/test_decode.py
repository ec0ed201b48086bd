"""Every kind of image becomes the right RGB pixels, or an error that names the file."""

import io
import os
import pickle
import struct
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional as F

from tests.helpers.pngs import chunk, png
from tiny_imagenet.data.images import decode
from tiny_imagenet.data.images.content import jpeg_size
from tiny_imagenet.data.images.decode import decode_image, shorter_side
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
    return png(40_000, 40_000, 1, 0, b"")


def many_scans():
    """A progressive JPEG whose last scan is repeated."""
    data = jpeg(progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + 2000 * data[last:-2] + data[-2:]


def huge_tile():
    """A TIFF of 16 by 16 pixels in one tile of 1,600 million, which libtiff makes whole; it deflates to a megabyte."""
    tile = zlib.compress(bytes(10**6))
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: 40_000, 323: 40_000, 324: 200, 325: len(tile)}
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
        (gigantic(), "1,600,000,000 pixels take 1.6 GB .* TINY_IMAGENET_IMAGE_MB=1600"),
        (huge_tile(), "1,600,000,000 pixels take 1.6 GB"),
        (many_scans(), "it has 2,00[0-9] scans"),
        (None, "No such file"),
    ],
    ids=["empty", "html", "eps", "headless", "truncated", "gigantic", "tile", "scans", "missing"],
)
def test_what_cant_be_decoded_is_named(tmp_path, content, message):
    path = tmp_path / "broken.JPEG"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"broken.JPEG can't be decoded: .*({message})"):
        decode_image(path, SIZE)


LONG = bytes(3 * 2**20)
PACKED = zlib.compress(LONG)
LARGE_CHUNKS = [
    chunk(b"tEXt", b"Comment\0" + 25 * LONG),
    chunk(b"zTXt", b"Comment\0\0" + PACKED),
    chunk(b"iTXt", b"Comment\0\1\0en\0comment\0" + PACKED),
    chunk(b"iTXt", b"Comment\0\0\0en\0comment\0" + 25 * LONG),
    chunk(b"iCCP", b"profile\0\0" + PACKED),
]


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("large", LARGE_CHUNKS, ids=["tEXt", "zTXt", "packed iTXt", "iTXt", "iCCP"])
def test_large_texts_and_profiles_are_skipped(tmp_path, large, place):
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, 3 * SIZE), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 3
    turn = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    data = png(SIZE, SIZE, 8, 2, b"".join(b"\0" + row.tobytes() for row in pixels), turn)
    at = data.index(b"IDAT" if place == "before" else b"IEND") - 4
    (tmp_path / "a.png").write_bytes(data[:at] + large + data[at:])
    expected = pixels.reshape(SIZE, SIZE, 3)[::-1, ::-1]
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png", SIZE), expected)
    assert shorter_side(tmp_path / "a.png") == SIZE


def test_a_hundred_megapixels_are_decoded(tmp_path):
    """10,000 x 10,000 pixels of one bit, white on the right; an eighth of the filter reaches over the edge."""
    row = b"\0" + 625 * b"\0" + 625 * b"\xff"
    (tmp_path / "a.png").write_bytes(png(10_000, 10_000, 1, 0, 10_000 * row))
    expected = [0] * 7 + [255 / 8, 255 * 7 / 8] + [255] * 7
    assert abs(decode_image(tmp_path / "a.png", SIZE)[7, :, 2] - expected).max() <= 0.5
    assert Image.MAX_IMAGE_PIXELS == 89_478_485, "Pillow's own limit is back"


def test_the_memory_of_an_image_is_limited_as_the_environment_says(tmp_path, monkeypatch):
    picture(width=1500, height=1000).save(tmp_path / "a.png")
    picture(width=1500, height=1000).save(tmp_path / "a.jpg")
    picture(width=1500, height=1000).save(tmp_path / "progressive.jpg", progressive=True)
    monkeypatch.setenv("TINY_IMAGENET_IMAGE_MB", "5")
    with pytest.raises(UserError, match="1,500,000 pixels take 6.0 MB .* 5.0 MB are allowed.*TINY_IMAGENET_IMAGE_MB=6"):
        decode_image(tmp_path / "a.png", SIZE)
    decode_image(tmp_path / "a.jpg", SIZE)  # at an eighth
    with pytest.raises(UserError, match="9.1 MB"):
        decode_image(tmp_path / "progressive.jpg", SIZE)
    monkeypatch.setenv("TINY_IMAGENET_IMAGE_MB", "6")
    decode_image(tmp_path / "a.png", SIZE)
    monkeypatch.setenv("TINY_IMAGENET_IMAGE_MB", "many")
    with pytest.raises(UserError, match="TINY_IMAGENET_IMAGE_MB must be a number of megabytes, not 'many'"):
        decode_image(tmp_path / "a.png", SIZE)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_large_images_are_reduced_before_they_are_converted(tmp_path, monkeypatch, mode):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image = picture(width=403, height=307).convert("RGB")
    if mode in ("LA", "RGBA"):
        image.putalpha(picture("L", 403, 307).rotate(180))
    image.convert(mode).save(path, **({"transparency": 3} if mode == "P" else {}))
    whole = decode_image(path, SIZE).astype(int)
    monkeypatch.setattr(decode, "LARGE", 10_000)
    difference = abs(decode_image(path, SIZE) - whole)
    assert difference.mean() < 1.5 and difference.max() <= (60 if mode in "1P" else 12)


@pytest.mark.parametrize("orientation", [1, 6, 8])
@pytest.mark.parametrize(("width", "height"), [(256, 300), (301, 257), (1024, 768), (66, 65)])
def test_a_photograph_is_decoded_at_a_fraction_of_its_size(tmp_path, width, height, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture("RGB", width, height).save(tmp_path / "a.jpg", quality=90, exif=exif)
    with Image.open(tmp_path / "a.jpg") as image:
        turned = ImageOps.exif_transpose(image)
        expected = np.asarray(ImageOps.fit(turned, (SIZE, SIZE), Image.Resampling.BILINEAR)).astype(int)
    difference = abs(decode_image(tmp_path / "a.jpg", SIZE) - expected)
    assert difference.max() <= 4 and difference.mean() < 1


def test_a_photograph_below_four_times_the_size_is_decoded_whole(tmp_path):
    picture("RGB", 80, 63).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        expected = np.asarray(ImageOps.fit(image, (SIZE, SIZE), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decode_image(tmp_path / "a.jpg", SIZE), expected)


def test_the_error_can_be_sent_between_processes(tmp_path):
    with pytest.raises(UserError) as caught:
        decode_image(tmp_path / "nothing.png", SIZE)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400)


def test_heic_without_its_package_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(HEIC)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(
        UserError, match=r"a.jpg can't be decoded: its content is HEIF, which needs pip install pillow-heif\."
    ):
        decode_image(tmp_path / "a.jpg", SIZE)


def test_heic_and_avif_are_read(tmp_path):
    image = picture(width=64, height=64)
    image.save(tmp_path / "a.jpg", "AVIF", quality=95)
    assert abs(decode_image(tmp_path / "a.jpg", 64).astype(int) - np.asarray(image)).mean() < 3
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(image).save(tmp_path / "b.png", quality=95, format="HEIF")
    assert abs(decode_image(tmp_path / "b.png", 64).astype(int) - np.asarray(image)).mean() < 3
    (tmp_path / "c.heic").write_bytes(HEIC)
    with pytest.raises(UserError, match="its content is HEIF, but damaged"):
        decode_image(tmp_path / "c.heic", 64)


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


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"comment": b"c" * 9000, "exif": b"Exif\0\0" + bytes(999)}]
)
def test_the_size_of_a_jpeg_is_found_as_by_pillow(tmp_path, options):
    picture(width=70, height=33).save(tmp_path / "a.jpg", **options)
    assert jpeg_size(tmp_path / "a.jpg") == (70, 33)
    picture(width=70, height=33).save(tmp_path / "a.png")
    assert jpeg_size(tmp_path / "a.png") is None
