"""Files that a power cut emptied are found by the sizes that they have in the archive, and extracted again."""

import logging
import os

import pytest

from tests.helpers.archives import contents, write_tar, write_zip
from tiny_imagenet.data.fetch import unpacked_size
from tiny_imagenet.data.fetch.archive import extract_again, extracted
from tiny_imagenet.data.fetch.cut_short import cut_short
from tiny_imagenet.errors import UserError

FILES = {
    "set/names.txt": b"n" * 100,
    "set/a/0.png": b"a" * 10_000,
    "set/b/0.png": b"b" * 4096,
    "set/b/empty.txt": b"",
    "set/b/run.sh": b"not extracted",
}


@pytest.fixture(params=["set.zip", "set.tar.gz"])
def archive(request, tmp_path):
    path = tmp_path / request.param
    return write_zip(path, FILES) if path.suffix == ".zip" else write_tar(path, FILES.items())


@pytest.fixture
def folder(archive, root):
    return extracted([str(archive)], None, root)


def test_a_whole_folder_has_none(archive, folder):
    assert cut_short(archive, folder) == []


@pytest.mark.parametrize(
    ("name", "size", "found"),
    [
        ("names.txt", 0, True),
        ("a/0.png", 0, True),
        ("a/0.png", 8192, True),  # two blocks of three
        ("a/0.png", 4096, False),  # the size of another one of that name: a class's images may be numbered
        ("a/0.png", 5000, False),  # no cut ends within a block: somebody changed the file
        ("a/0.png", 12288, False),
        ("names.txt", 50, False),
    ],
)
def test_a_file_that_ends_after_whole_blocks_is_found(archive, folder, name, size, found):
    os.truncate(folder / name, size)
    assert cut_short(archive, folder) == ([name] if found else [])


def test_files_that_were_moved_removed_or_added_are_not_taken_for_cut(archive, folder):
    (folder / "c").mkdir()
    (folder / "a" / "0.png").rename(folder / "c" / "0.png")
    (folder / "names.txt").unlink()
    (folder / "mine.txt").touch()
    (folder / "run.sh").touch()
    (folder / "link.txt").symlink_to("nowhere")
    assert cut_short(archive, folder) == []
    os.truncate(folder / "c" / "0.png", 0)
    assert cut_short(archive, folder) == ["c/0.png"]


def test_emptied_files_are_extracted_again(archive, root, folder, caplog):
    whole = contents(folder)
    assert not extract_again([str(archive)], root)
    for name in ("names.txt", "a/0.png"):
        os.truncate(folder / name, 0)
    with caplog.at_level(logging.WARNING):
        assert extract_again([str(archive)], root)
    assert caplog.messages == [
        f"{folder} has files without their content, as after a power cut: a/0.png, names.txt. Extracting {archive} "
        "again."
    ]
    assert contents(folder) == whole and not extract_again([str(archive)], root)


def test_without_the_archive_that_it_came_from_the_folder_stays(archive, root, folder):
    os.truncate(folder / "names.txt", 0)
    left = contents(folder)
    other = {**FILES, "set/a/0.png": b"A" * 10_000}
    size = archive.stat().st_size
    write_zip(archive, other) if archive.suffix == ".zip" else write_tar(archive, other.items())
    assert archive.suffix != ".zip" or archive.stat().st_size == size, "told apart by its MD5 alone"
    assert not extract_again([str(archive)], root)
    archive.write_bytes(b"damaged")
    assert not extract_again([str(archive)], root)
    archive.unlink()
    assert not extract_again([str(archive)], root)
    assert contents(folder) == left


def test_an_archive_that_may_not_be_unpacked_any_more_does_not_hide_the_first_error(archive, root, folder, monkeypatch):
    os.truncate(folder / "names.txt", 0)
    monkeypatch.setattr(unpacked_size, "MAX_BYTES", 1000)  # as without the environment variable that it was unpacked by
    with pytest.raises(UserError, match="decompression bomb"):
        cut_short(archive, folder)
    assert not extract_again([str(archive)], root)


def test_a_folder_without_a_record_stays(archive, root, folder):
    os.truncate(folder / "names.txt", 0)
    (folder / ".archive.json").unlink()
    assert not extract_again([str(archive)], root)
    with pytest.raises(UserError, match="was not extracted by this program"):
        extracted([str(archive)], None, root)


def test_a_download_that_is_kept_is_used(archive, root, folder):
    archive = archive.rename(root / archive.name)
    whole = contents(folder)
    os.truncate(folder / "names.txt", 0)
    assert extract_again([f"https://example.org/{archive.name}"], root)
    assert contents(folder) == whole
