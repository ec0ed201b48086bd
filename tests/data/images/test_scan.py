"""Images in folders: which are found, with which labels, and what is refused."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.folders import deep_folder
from tiny_imagenet.data.images.scan import has_images, scan_classes, scan_flat
from tiny_imagenet.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Two classes of two training images each, and four images without a class."""
    names = [f"train/{class_id}/images/{class_id}_{number}.JPEG" for class_id in ("n01", "n02") for number in range(2)]
    for name in names + [f"val/images/val_{number}.JPEG" for number in range(4)]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 10)
    return tmp_path


def test_a_scan_finds_the_images_of_each_class(folder):
    images = folder / "train" / "n01" / "images"
    for name in ".hidden.JPEG", "Thumbs.db", "notes.txt":
        (images / name).write_bytes(b"x")
    (images / "folder.jpeg").mkdir()
    (images.parent / "deeper" / "still").mkdir(parents=True)
    (images.parent / "deeper" / "still" / "a.PNG").write_bytes(b"")
    (images.parent / "0.webp").symlink_to(images / "n01_1.JPEG")
    os.utime(images / "n01_0.JPEG", ns=(5, 7))

    files = scan_classes(folder / "train", ("n01", "n02"))

    expected = ["n01/0.webp", "n01/deeper/still/a.PNG", "n01/images/n01_0.JPEG", "n01/images/n01_1.JPEG"]
    assert files.names == [*expected, "n02/images/n02_0.JPEG", "n02/images/n02_1.JPEG"]
    assert files.labels.tolist() == [0, 0, 0, 0, 1, 1] and files.labels.dtype == np.int64
    assert files.sizes.tolist() == [10, 0, 10, 10, 10, 10]
    assert files.times[2] == 7
    assert len(files) == 6


def test_labels_follow_the_order_of_the_ids(folder):
    files = scan_classes(folder / "train", ("n02", "n01"))
    assert [(name[:3], label) for name, label in zip(files.names, files.labels, strict=True)][::2] == [
        ("n02", 0),
        ("n01", 1),
    ]


@pytest.mark.parametrize("spoil", ["empty", "missing", "strays"])
def test_a_class_without_images_is_named(folder, spoil):
    class_folder = folder / "train" / "n02"
    for path in (class_folder / "images").iterdir():
        path.unlink()
    if spoil == "missing":
        class_folder.rename(folder / "elsewhere")
    if spoil == "strays":
        (class_folder / "images" / "Thumbs.db").write_bytes(b"")
    with pytest.raises(UserError, match=r"train/n02 has no images"):
        scan_classes(folder / "train", ("n01", "n02"))


def test_a_flat_scan_has_no_labels(folder):
    files = scan_flat(folder / "val" / "images")
    assert files.names == [f"val_{number}.JPEG" for number in range(4)]
    assert files.labels.tolist() == [-1] * 4
    with pytest.raises(UserError, match="nowhere has no images"):
        scan_flat(folder / "nowhere")


def test_a_broken_link_with_the_name_of_an_image_is_found(folder):
    """So that it is told with the images that can't be read, and not alone."""
    for name, target in (("gone.JPEG", folder / "nowhere.JPEG"), ("round.JPEG", "round.JPEG")):
        (folder / "val" / "images" / name).symlink_to(target)
    files = scan_flat(folder / "val" / "images")
    assert files.names == ["gone.JPEG", "round.JPEG", *(f"val_{number}.JPEG" for number in range(4))]


@pytest.mark.parametrize("target", ["nowhere", "round"])
def test_a_broken_link_with_another_name_is_left_out(folder, caplog, target):
    (folder / "val" / "images" / "round").symlink_to(target)
    with caplog.at_level("INFO", logger="tiny_imagenet"):
        assert len(scan_flat(folder / "val" / "images")) == 4
    assert "left out 1 broken link," in caplog.text


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN"])
def test_folders_of_the_system_are_no_part_of_a_class(folder, name):
    """Synology keeps thumbnails in @eaDir: images with the names of images."""
    (folder / "train" / "n01" / name).mkdir()
    (folder / "train" / "n01" / name / "thumbnail.jpg").write_bytes(b"x")
    assert len(scan_classes(folder / "train", ("n01", "n02"))) == 4
    assert has_images(folder / "train" / "n01") and not has_images(folder / "train" / "n01" / name / "nowhere")


def content(kind):
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, kind)
    return data.getvalue()


def test_unknown_names_are_looked_into_and_what_is_left_out_is_counted(tmp_path, caplog):
    kinds = {"a": "JPEG", "b.jfif": "JPEG", "c.JPE": "JPEG", "d.mpo": "MPO", "e.avif": "AVIF", "f.photo": "PNG"}
    kinds |= {"g": "BMP", "h": "GIF", "i": "WEBP", "j": "TIFF", "k.txt": "PPM"}
    for name, kind in kinds.items():
        (tmp_path / name).write_bytes(content(kind))
    (tmp_path / "l.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (tmp_path / "album.jpg").mkdir()
    (tmp_path / "album.jpg" / "m.png").write_bytes(content("PNG"))
    for name in ("BMW.txt", "P6.txt", "notes.TXT", "film.mp4", "README", ".DS_Store", "raw.dng"):
        (tmp_path / name).write_bytes(b"P6 and BMW are words" if "txt" in name.lower() else b"II*\0\x08\0\0\0")
    (tmp_path / "README").write_bytes(b"")
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom")
    (tmp_path / ".thumbnails").mkdir()
    (tmp_path / ".packed").mkdir()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    with caplog.at_level("INFO", logger="tiny_imagenet"):
        files = scan_flat(tmp_path)
    assert files.names == sorted([*kinds, "l.heic", "album.jpg/m.png"])
    for kind in ("3 .txt", "1 .mp4", "1 .dng", "1 without extension", "1 hidden", "1 hidden folder", "1 broken link"):
        assert kind in caplog.text
    assert "1 special file" in caplog.text
    assert len(caplog.messages) == 1, "said once"


def test_each_file_left_out_is_counted_however_many_kinds_there_are(tmp_path, caplog):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for number in range(20):
        for name in ("a", "b")[: 1 + (number < 15)]:
            (tmp_path / f"{name}.{number:02}").write_text("text")
    with caplog.at_level("INFO", logger="tiny_imagenet"):
        scan_flat(tmp_path)
    kinds = ", ".join(f"2 .{number:02}" for number in range(15))
    (said,) = caplog.messages
    told = said.partition("left out ")[2].removesuffix(", which are no images of a known format.").split(", ")
    assert sorted(told[:-1]) == kinds.split(", ") and told[-1] == "5 of 5 other kinds"


def test_the_boxes_of_tiny_imagenet_are_no_news(folder, caplog):
    (folder / "train" / "n01" / "n01_boxes.txt").write_text("n01_0.JPEG\t0\t0\t1\t1\n")
    with caplog.at_level("INFO", logger="tiny_imagenet"):
        scan_classes(folder / "train", ("n01", "n02"))
    assert not caplog.messages


def test_images_below_1500_folders_are_found(tmp_path):
    for class_id in ("n01", "n02"):
        (tmp_path / class_id).mkdir()
        (tmp_path / class_id / "b.png").touch()
    with deep_folder(tmp_path / "n01" / "d", 1500):
        Path("a.png").touch()
        files = scan_classes(tmp_path, ("n01", "n02"))
        assert files.names == ["n01/b.png", f"n01/{1501 * 'd/'}a.png", "n02/b.png"]
        assert has_images(tmp_path / "n01" / "d")
