"""Packed images: the right pixels, read by index, and a cache that notices every change."""

import errno
import json
import os
import pickle
import shutil
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.jpegs import SIZE, by_pillow, packed_of, write_jpegs
from tiny_imagenet.data.images import pack_workers, packed
from tiny_imagenet.data.images.packed import pack
from tiny_imagenet.data.images.scan import scan_flat
from tiny_imagenet.errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(pack_workers, "CHUNK_BYTES", 20 * SIZE * SIZE * 3)  # several tasks for these few images
    return write_jpegs(tmp_path / "train")


def test_packed_pixels_are_those_of_the_files(folder):
    images = packed_of(folder)
    assert len(images) == 90
    assert sum(Image.open(folder / name).mode == "L" for name in images.names) == 9
    np.testing.assert_array_equal(images.images, by_pillow(images))
    assert images.labels.tolist() == [0] * 30 + [1] * 30 + [2] * 30


def test_a_batch_is_a_copy_in_channels_last_memory(folder):
    images = packed_of(folder)
    rows = np.array([70, 3, 3, 89])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels, labels = images[rows]
        pixels.add_(1)
    assert pixels.shape == (4, 3, SIZE, SIZE) and pixels.dtype == torch.uint8
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    expected = by_pillow(images)[rows].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(images[rows][0].numpy(), expected)
    assert labels.tolist() == [2, 0, 0, 2] and labels.dtype == torch.int64


def test_unlabelled_images_are_packed_too(folder):
    images = pack(scan_flat(folder), SIZE, folder.parent / "packed" / "flat")
    assert images[np.array([0, 1])][1].tolist() == [-1, -1]


def test_a_selection_reads_its_own_images(folder):
    images = packed_of(folder)
    selected = images.select(np.array([60, 61, 0, 1]), np.array([1, 1, 0, 0])).select(np.array([2, 0]))
    assert selected.names == ["n01/0.JPEG", "n03/0.JPEG"]
    pixels, labels = selected[np.arange(2)]
    assert labels.tolist() == [0, 1]
    np.testing.assert_array_equal(pixels, images[np.array([0, 60])][0])
    assert images.select(np.array([60])).labels.tolist() == [2]


@pytest.mark.parametrize("rows", [np.arange(90), np.arange(30, 60), np.array([5])])
def test_mean_and_std_are_those_of_the_selected_pixels(folder, rows):
    images = packed_of(folder).select(rows)
    pixels = by_pillow(images).reshape(-1, 3) / 255
    mean, std = images.mean_std()
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-10)
    np.testing.assert_allclose(std, pixels.std(0), rtol=1e-10)
    assert all(type(value) is float for value in (*mean, *std))


def test_a_constant_channel_can_be_normalised(tmp_path):
    Image.new("RGB", (SIZE, SIZE), (255, 0, 51)).save(tmp_path / "a.png")
    mean, std = pack(scan_flat(tmp_path), SIZE, tmp_path / ".packed").mean_std()
    np.testing.assert_allclose(mean, (1, 0, 0.2))
    np.testing.assert_allclose(std, 3 * (1 / 255,))


def test_a_whole_cache_is_used_as_it_is(folder, monkeypatch):
    before = packed_of(folder)
    monkeypatch.setattr(packed, "build", None)  # whoever decodes again fails
    again = packed_of(folder)
    np.testing.assert_array_equal(again.images, before.images)
    assert again.names == before.names


def touch(folder, cache):
    os.utime(folder / "n01" / "3.JPEG", (1, 1))


def replace_source(folder, cache):
    status = (folder / "n01" / "3.JPEG").stat()
    shutil.copy(folder / "n02" / "3.JPEG", folder / "n01" / "3.JPEG")
    os.utime(folder / "n01" / "3.JPEG", ns=(status.st_atime_ns, status.st_mtime_ns))


def rename_source(folder, cache):
    (folder / "n01" / "3.JPEG").rename(folder / "n01" / "a.JPEG")


def remove_source(folder, cache):
    (folder / "n01" / "3.JPEG").unlink()


def truncate(folder, cache):
    os.truncate(cache / "pixels.npy", 1000)


def lengthen(folder, cache):
    with (cache / "pixels.npy").open("ab") as file:
        file.write(b"x")


def remove_sums(folder, cache):
    (cache / "sums.npy").unlink()


def garble(folder, cache):
    (cache / "meta.json").write_bytes(b"\xff{")


def nest(folder, cache):
    (cache / "meta.json").write_text("[" * 10**5)


def not_an_object(folder, cache):
    (cache / "meta.json").write_text("[]")


def other_version(folder, cache):
    meta = json.loads((cache / "meta.json").read_text())
    (cache / "meta.json").write_text(json.dumps(meta | {"format": 0}))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (touch, "source files have changed"),
        (replace_source, "source files have changed"),
        (rename_source, "source files have changed"),
        (remove_source, "source files have changed"),
        (truncate, "their length has changed"),
        (lengthen, "their length has changed"),
        (remove_sums, "they are incomplete"),
        (garble, "they are incomplete"),
        (nest, "they are incomplete (meta.json is nested too deeply)"),
        (not_an_object, "their length has changed"),
        (other_version, "another version"),
    ],
)
def test_a_change_is_noticed_said_and_packed_again(folder, caplog, spoil, reason):
    packed_of(folder)
    spoil(folder, folder.parent / "packed" / "train")
    with caplog.at_level("INFO", logger="tiny_imagenet"):
        images = packed_of(folder)
    assert reason in caplog.text
    np.testing.assert_array_equal(images.images, by_pillow(images))


def as_before_decoder_2(folder):
    """The cache as an earlier version wrote it: a pixel is changed, to see whether it is used."""
    cache = folder.parent / "packed" / "train"
    meta = json.loads((cache / "meta.json").read_text())
    assert meta.pop("decoder") == 2
    (cache / "meta.json").write_text(json.dumps(meta))
    pixels = np.load(cache / "pixels.npy", mmap_mode="r+")
    pixels[0, 0, 0] = (1, 2, 3)
    pixels.flush()


def test_an_earlier_cache_of_ordinary_images_is_kept(folder, caplog, monkeypatch):
    packed_of(folder)
    as_before_decoder_2(folder)
    monkeypatch.setattr(packed, "build", None)  # whoever decodes again fails
    assert packed_of(folder).images[0, 0, 0].tolist() == [1, 2, 3]
    monkeypatch.setattr(packed, "was_decoded_otherwise", None)  # and is checked once
    assert packed_of(folder).images[0, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGB", (4 * SIZE, 5 * SIZE)),
        Image.new("I;16", (SIZE, SIZE)),
        Image.fromarray(np.zeros((SIZE, SIZE), np.float32)),
    ],
    ids=["photograph", "16 bits", "float"],
)
def test_an_earlier_cache_of_what_is_decoded_otherwise_is_made_anew(folder, caplog, image):
    image.save(folder / "n02" / "3.JPEG", {"RGB": "JPEG", "F": "TIFF"}.get(image.mode, "PNG"))
    packed_of(folder)
    as_before_decoder_2(folder)
    with caplog.at_level("INFO", logger="tiny_imagenet"):
        assert packed_of(folder).images[0, 0, 0].tolist() != [1, 2, 3]
    assert "n02/3.JPEG are decoded better now" in caplog.text


def test_another_size_is_packed_again(folder, caplog):
    packed_of(folder)
    with caplog.at_level("INFO", logger="tiny_imagenet"):
        assert packed_of(folder, size=8).images.shape == (90, 8, 8, 3)
    assert "they are 16 pixels wide, not 8" in caplog.text


def test_a_pickle_holds_no_pixels(folder):
    images = packed_of(folder).select(np.arange(10, 20))
    pickled = pickle.dumps(images)
    assert len(pickled) < 90 * SIZE * SIZE * 3 / 4
    again = pickle.loads(pickled)
    np.testing.assert_array_equal(again[np.arange(10)][0], images[np.arange(10)][0])
    assert again.names == images.names


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="only Linux tells what memory is shared")
def test_reading_keeps_no_private_copy(folder):
    images = packed_of(folder)
    images[np.arange(90)]
    with open("/proc/self/smaps") as file:
        lines = file.read().split(str(folder.parent / "packed" / "train" / "pixels.npy"))[1].splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:20] if line.endswith("kB")}
    assert sizes["Rss"] >= 64
    assert sizes["Private_Dirty"] == sizes["Anonymous"] == 0


def test_files_that_only_now_cannot_be_read_are_not_left_out(tmp_path, monkeypatch):
    folder = write_jpegs(tmp_path / "set")
    files = scan_flat(folder)
    opened, calls = Image.open, []

    def refused(path, *others, **options):
        calls.append(path)
        if str(path).endswith(files.names[0]):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *others, **options)

    monkeypatch.setattr(Image, "open", refused)
    with pytest.raises(UserError, match=r"1 of \d+ images in .* can.t be read now: .*\(.*Permission denied\)"):
        pack(files, 8, tmp_path / "cache", on_bad_images="skip")
    monkeypatch.undo()
    assert len(pack(files, 8, tmp_path / "cache", on_bad_images="skip")) == len(files)


def test_a_pack_without_some_images_is_kept_where_they_are_an_error(tmp_path):
    folder = write_jpegs(tmp_path / "set")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    files = scan_flat(folder)
    assert len(pack(files, 8, tmp_path / "cache", on_bad_images="skip")) == len(files) - 1
    before = (tmp_path / "cache" / "pixels.npy").stat().st_mtime_ns
    with pytest.raises(UserError, match="broken.jpg can't be decoded"):
        pack(files, 8, tmp_path / "cache")
    assert len(pack(files, 8, tmp_path / "cache", on_bad_images="skip")) == len(files) - 1
    assert (tmp_path / "cache" / "pixels.npy").stat().st_mtime_ns == before
