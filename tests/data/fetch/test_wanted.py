"""Images in archives under any name, and what only begins like one."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.helpers.archives import contents, write_tar, write_zip
from tiny_imagenet.data import ImageFolderDataModule
from tiny_imagenet.data.fetch.archive import extracted

WRITERS = {
    "zip": write_zip,
    "tar": lambda path, files: write_tar(path, files.items(), "w"),
    "tar.gz": lambda path, files: write_tar(path, files.items()),
    "tar.xz": lambda path, files: write_tar(path, files.items(), "w:xz"),
}


def picture(kind="JPEG", level=0):
    content = io.BytesIO()
    Image.new("RGB", (16, 16), (level, 0, 0)).save(content, kind)
    return content.getvalue()


@pytest.mark.parametrize("suffix", WRITERS)
def test_an_image_is_extracted_under_any_name_and_gets_its_extension(tmp_path, caplog, suffix):
    images = {"cat/IMG_1": picture(), "cat/a.dat": picture("PNG"), "cat/b.jpg.1": picture(), "c/d.e/f": picture("GIF")}
    others = {"cat/notes": b"P6 is a format", "cat/empty": b"", "cat/a.nef": picture("TIFF"), "x.py": b"import os"}
    known = {"cat/0.png": b"not looked into", "words.txt": b"x"}
    files = {f"set/{name}": content for name, content in (others | images | known).items()}
    path = WRITERS[suffix](tmp_path / f"set.{suffix}", files)
    with caplog.at_level("INFO"):
        found = contents(extracted([str(path)], None, tmp_path / "data"))
    extensions = ("jpeg", "png", "jpeg", "gif")
    named = {f"{name}.{e}": content for (name, content), e in zip(images.items(), extensions, strict=True)}
    assert found == named | known
    assert "4 image(s) without an image's extension get one by their content, such as" in caplog.text
    assert "skipped 4 file(s) that are not data, such as 'set/cat/notes' (2 without extension, 1 .nef, 1 .py)" in (
        caplog.text
    )


@pytest.mark.parametrize("suffix", WRITERS)
def test_no_program_takes_what_begins_like_an_image_for_its_own(tmp_path, suffix):
    """A valid Python file, a Makefile and keys of ssh, which ignores lines that it does not know."""
    hostile = b"GIF89a=1\nimport os\n"
    names = ["conftest.py", "Makefile", "authorized_keys", "set/run"]
    path = WRITERS[suffix](tmp_path / f"set.{suffix}", dict.fromkeys([*names, ".ssh/config", "a/.b"], hostile))
    assert sorted(contents(extracted([str(path)], None, tmp_path / "data"))) == sorted(f"{n}.gif" for n in names)


def test_a_name_that_another_file_has_is_not_taken(tmp_path):
    files = {"set/a": picture(level=1), "set/a.jpeg": picture(level=2), "set/a_1.jpeg": picture(level=3)}
    found = contents(extracted([str(write_zip(tmp_path / "set.zip", files))], None, tmp_path / "data"))
    assert found == {"a_2.jpeg": files["set/a"], "a.jpeg": files["set/a.jpeg"], "a_1.jpeg": files["set/a_1.jpeg"]}


def test_a_name_that_another_file_gets_is_not_taken(tmp_path):
    files = {"set/a": picture(level=1), "set/a.jpeg": picture(level=2), "set/a_1": picture(level=3)}
    found = contents(extracted([str(write_zip(tmp_path / "set.zip", files))], None, tmp_path / "data"))
    assert found == {"a_1.jpeg": files["set/a"], "a.jpeg": files["set/a.jpeg"], "a_1_1.jpeg": files["set/a_1"]}


def test_an_archive_has_the_images_that_its_folder_has(tmp_path):
    files = {
        f"{name}/{number}": picture("PNG", 20 * number + (name == "dog"))
        for name in ("cat", "dog")
        for number in range(10)
    }
    for name, content in files.items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(content)
    options = {"image_size": 16, "batch_size": 4}
    archive = str(write_zip(tmp_path / "set.zip", files))
    levels = []
    for data in (
        ImageFolderDataModule(str(tmp_path / "photos"), **options),
        ImageFolderDataModule(str(tmp_path / "data"), archive=archive, **options),
    ):
        images = data.packed("train")
        levels.append(sorted(zip(images.labels.tolist(), images.images[:, 0, 0, 0].tolist(), strict=True)))
    assert levels[0] == levels[1] and len(levels[0]) == 20
    np.testing.assert_array_equal([label for label, _ in levels[0]], np.repeat([0, 1], 10))
