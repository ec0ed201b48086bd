"""Random annotations and images: what comes of them is right, or refused with a message; see test_fuzz_archive too."""

import io
import itertools
import os
import re
import shutil
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.fuzzing import DAMAGE, EXAMPLES, damaged, fuzz, kind_of
from tiny_imagenet.data.images.decode import decode_image
from tiny_imagenet.data.images.packed import pack
from tiny_imagenet.data.images.scan import scan_flat
from tiny_imagenet.data.sets.tiny_imagenet_layout import read_classes, restructure_validation
from tiny_imagenet.errors import UserError

# Annotations

CLASS_IDS = st.sampled_from(["n01", "n02", "n03"])
ODD_IDS = st.text(max_size=5) | st.sampled_from(
    ["images", "val_annotations.txt", "..", "a/b", "n" * 300, "ä" * 60, "0.JPEG"]
)
NAMES = [f"{number}.JPEG" for number in range(5)]
ODD_NAMES = st.sampled_from(["../0.JPEG", "Thumbs.db", ".0.JPEG", "n" * 300 + ".JPEG", "n01"]) | st.text(max_size=5)


def usually(strategy, odd):
    return st.integers(0, 19).flatmap(lambda number: odd if number == 0 else strategy)


ODD_BOXES = st.sampled_from(["0\t0\t63", "0\t-1\t0\t9", "0 0 1 1", "٣\t0\t1\t1", "a\t0\t1\t1"])
BOX = usually(st.just("0\t0\t63\t63"), ODD_BOXES)
END = usually(st.just("\n"), st.sampled_from(["\r\n", "\r", "", "\n\n"]))


@st.composite
def layouts(draw):
    """wnids.txt, val_annotations.txt, the files in val/images, and those that an earlier start moved already."""
    ids = draw(usually(st.just(["n02", "n01", "n03"]), st.lists(CLASS_IDS | ODD_IDS, min_size=1, max_size=5)))
    lines = [(name, draw(usually(st.sampled_from(ids), CLASS_IDS | ODD_IDS))) for name in NAMES]
    lines += draw(usually(st.just([]), st.lists(st.tuples(st.sampled_from(NAMES) | ODD_NAMES, CLASS_IDS), max_size=2)))
    text = "".join(f"{name}\t{class_id}\t{draw(BOX)}{draw(END)}" for name, class_id in lines)
    wnids = damaged("\n".join(ids).encode(), draw(usually(st.just([]), DAMAGE)))
    annotations = damaged(text.encode(), draw(usually(st.just([]), DAMAGE)))
    gone, odd = draw(usually(st.just(set()), st.sets(st.sampled_from(NAMES)))), draw(usually(st.just(""), ODD_NAMES))
    files = [f"images/{name}" for name in NAMES if name not in gone] + [f"images/{odd}"] * bool(odd)
    moved = draw(st.just({}) | st.dictionaries(st.sampled_from(NAMES), CLASS_IDS, max_size=2))
    files += [f"{class_id}/images/{name}" for name, class_id in moved.items()]
    return wnids, annotations, {name: draw(st.sampled_from("ab")) + os.path.basename(name) for name in files}


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines_of(annotations):
    """Name and class id of each line, by hand."""
    lines = annotations.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return [line.decode().split("\t")[:2] for line in lines if line.strip()]


@pytest.mark.parametrize("examples", EXAMPLES)
def test_annotations(tmp_path, examples):
    folder = tmp_path / "set"

    def check(layout):
        wnids, annotations, files = layout
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "val" / "images").mkdir(parents=True)
        (folder / "wnids.txt").write_bytes(wnids)
        (folder / "val" / "val_annotations.txt").write_bytes(annotations)
        for name, content in files.items():
            (folder / "val" / name).parent.mkdir(parents=True, exist_ok=True)
            with suppress(OSError, ValueError):  # a name that no file can have
                (folder / "val" / name).write_text(content)
        before = tree(tmp_path)
        try:
            classes = read_classes(folder)
            restructure_validation(folder)
        except UserError as error:
            assert str(folder) in str(error)
            assert tree(tmp_path) == before
            return kind_of(error)
        after = tree(folder)
        assert list(classes.ids) == sorted(set(wnids.decode().split())) == sorted(wnids.decode().split())
        assert set(before.values()) == set(after.values()), "nothing is lost"
        for name, class_id in lines_of(annotations):
            assert f"val/{class_id}/images/{name}" in after
        left = [name for name in after if name.startswith("val/images/") and name.endswith(".JPEG")]
        assert all(re.match(r"val/images/(images/|\.)", name) for name in left), "all have found their class"
        restructure_validation(folder)
        assert tree(folder) == after, "once is as good as twice"
        return "restructured"

    fuzz(check, examples, layouts())


# Images

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
        except UserError as error:
            assert str(path) in str(error)
            outcome, message = kind_of(error), str(error)
        if lot == 0:
            try:
                packed = pack(scan_flat(folder), SIZE, cache)
                np.testing.assert_array_equal(packed.images[0], pixels)
            except UserError as error:
                assert str(error) == message
                assert os.listdir(tmp_path) == ["images"]
            shutil.rmtree(cache, ignore_errors=True)
        return outcome

    fuzz(check, examples, damaged_images(), st.integers(0, 99))


def test_images_that_are_whole_decode(tmp_path):
    for data in IMAGES:
        (tmp_path / "a.png").write_bytes(data)
        assert decode_image(tmp_path / "a.png", SIZE).shape == (SIZE, SIZE, 3)
