"""Archives that are found, extracted, kept, replaced and interrupted."""

import errno
import hashlib
import json
import logging
import os
import signal
import stat
import subprocess
import time
import zipfile

import pytest

from tests.helpers.archives import EXPECTED, FILES, contents, disk, in_process, write_tar, write_zip
from tiny_imagenet.data.fetch.archive import extracted, locked, needs_download
from tiny_imagenet.errors import UserError, user_message


def md5_of(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "name",
    ["set.zip", "set.tar", "set.tar.gz", "set.TGZ", "set.tar.xz", "set.txz", "set.tar.bz2", "set.tbz", "deflated.zip"],
)
def test_every_kind_of_archive_comes_out_as_it_went_in(root, tmp_path, name):
    path = tmp_path / name
    if name.endswith("zip"):
        write_zip(path, compression=zipfile.ZIP_DEFLATED if "deflated" in name else zipfile.ZIP_STORED)
    else:
        kinds = {"tar": "", "gz": "gz", "tgz": "gz", "xz": "xz", "txz": "xz", "bz2": "bz2", "tbz": "bz2"}
        write_tar(path, FILES.items(), f"w:{kinds[name.lower().rpartition('.')[2]]}")
    folder = extracted([str(path)], md5_of(path), root)
    assert folder == root / name.split(".")[0]
    assert contents(folder) == EXPECTED
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(tmp_path.stat().st_mode) | 0o55 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_zip_of_powershell_5(root, tmp_path):
    """It separates folders by backslashes, also at the end of a folder's own name."""
    names = {name.replace("/", "\\"): content for name, content in FILES.items()}
    path = write_zip(tmp_path / "set.zip", {"set\\": b"", "set\\sub\\": b"", **names})
    assert contents(extracted([str(path)], None, root)) == EXPECTED


def test_a_zip_of_macos(root, tmp_path):
    """Its names are UTF-8 without the flag that says so, and it has a second folder with the attributes of files."""
    path = write_zip(tmp_path / "set.zip", {"maXXana/cafXX.txt": b"1", "__MACOSX/maXXana/._cafXX.txt": b"2"})
    path.write_bytes(path.read_bytes().replace(b"maXX", "mañ".encode()).replace(b"cafXX", "café".encode()))
    assert contents(extracted([str(path)], None, root)) == {"café.txt": b"1"}


def test_a_name_of_an_old_zip_without_unicode_is_read_as_cp437(root, tmp_path):
    path = write_zip(tmp_path / "set.zip", {"set/cafX.txt": b"1"})
    path.write_bytes(path.read_bytes().replace(b"cafX", b"caf\x82"))
    assert contents(extracted([str(path)], None, root)) == {"café.txt": b"1"}


def test_more_than_one_top_folder_is_kept(root, tmp_path):
    files = {"train/a.txt": b"1", "val/b.txt": b"2", "./c.txt": b"3"}
    path = write_zip(tmp_path / "set.zip", files)
    assert contents(extracted([str(path)], None, root)) == {"train/a.txt": b"1", "val/b.txt": b"2", "c.txt": b"3"}


@pytest.mark.parametrize("name", ["a b.zip", "50%#?.zip", "ä.zip"])
def test_file_urls_are_decoded_and_used_in_place(root, tmp_path, name):
    path = write_zip(tmp_path / name)
    assert contents(extracted([path.as_uri()], None, root)) == EXPECTED
    assert sorted(entry.name for entry in root.iterdir()) == sorted([".lock", path.stem])


def test_nothing_is_done_a_second_time_even_without_the_archive(root, tmp_path, monkeypatch):
    path = write_zip(tmp_path / "set.zip")
    md5 = md5_of(path)
    folder = extracted([str(path)], md5, root)
    monkeypatch.setattr("tiny_imagenet.data.fetch.archive.unpack", None)
    monkeypatch.setattr("tiny_imagenet.data.fetch.archive._obtain", None)
    extracted([str(path)], None, root)
    path.unlink()
    assert extracted([str(path)], None, root) == extracted([str(path)], md5.upper(), root) == folder


def test_what_is_not_here_yet_needs_a_download(root, tmp_path):
    url, path = "https://example.org/set.zip", write_zip(tmp_path / "set.zip")
    assert needs_download(url, root) and not needs_download(str(path), root), "a local file is used in place"
    root.mkdir()
    (root / "set.zip").touch()
    assert not needs_download(url, root), "a download that is kept"
    (root / "set.zip").unlink()
    extracted([str(path)], None, root)
    assert not needs_download(url, root)


def test_another_archive_of_the_same_stem_takes_the_place(root, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    path = write_zip(tmp_path / "set.zip")
    folder = extracted([str(path)], None, root)
    (folder / "packed").mkdir()
    write_zip(path, {"set/new.txt": b"new"})
    assert contents(extracted([str(path)], None, root)) == {"new.txt": b"new"}
    assert "came from another archive" in caplog.text
    assert sorted(entry.name for entry in root.iterdir()) == [".lock", "set"]
    with pytest.raises(UserError, match="is " + md5_of(path)):
        extracted([str(path)], "0" * 32, root)
    assert contents(folder) == {"new.txt": b"new"}, "what was there stays until the new one is whole"


def test_the_same_bytes_with_another_time_are_not_extracted_again(root, tmp_path, monkeypatch):
    path = write_zip(tmp_path / "set.zip")
    extracted([str(path)], None, root)
    os.utime(path, (1, 1))
    monkeypatch.setattr("tiny_imagenet.data.fetch.archive.unpack", None)
    folder = extracted([str(path)], None, root)
    assert json.loads((folder / ".archive.json").read_text())["mtime_ns"] == 10**9


def test_a_folder_that_is_not_from_here_is_left_alone(root, tmp_path):
    (root / "set").mkdir(parents=True)
    (root / "set" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="--data.archive null"):
        extracted([str(write_zip(tmp_path / "set.zip"))], None, root)
    assert contents(root / "set") == {"mine.txt": b"mine"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("set.rar", "is not the name of an archive"),
        ("http://127.0.0.1/", "is not the name of an archive"),
        ("ftp://host/set.zip", "give an http://"),
        ("file://data/set.zip", "file:///"),
        ("http://[/set.zip", "is not a valid URL"),
        ("~nobody-of-this-name/set.zip", "~nobody-of-this-name/set.zip: there is no such file"),
        ("http://127.0.0.1:port/set.zip", "not a valid URL: nonnumeric port: 'port'"),
        ("missing.zip", "(?s)missing.zip: there is no such file.*--data.archive FILE.*make quickstart"),
    ],
)
def test_what_is_no_archive(root, source, message):
    with pytest.raises(UserError, match=message):
        extracted([source], None, root)


def test_a_folder_given_as_archive(root, tmp_path):
    with pytest.raises(UserError, match="--data.archive null"):
        extracted([str(tmp_path)], None, root)


def test_a_root_that_cannot_be_made_or_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/data can't be written: Not a directory"):
        with locked(tmp_path / "file" / "data"):
            pass
    with pytest.raises(UserError, match="file can't be written: File exists"):
        extracted([str(write_zip(tmp_path / "set.zip"))], None, tmp_path / "file")


@pytest.mark.parametrize("options", ["size=128k", "ro"])
def test_a_disk_that_is_full_or_read_only(root, tmp_path, monkeypatch, options):
    path = write_zip(tmp_path / "set.zip")
    monkeypatch.setattr("tiny_imagenet.data.fetch.unpack.require_free", lambda *_: None)
    full = rf"\({75 * 4.096:.1f} kB\) can't be written: No space left on device. Free some space there, or choose"
    with disk(root, options):
        with pytest.raises(UserError, match="Read-only file system. Make it writable, or" if options == "ro" else full):
            extracted([str(path)], None, root)
        assert os.listdir(root) == ([".lock"] if options != "ro" else [])


def killed_at(monkeypatch, name, count):
    """Make the `count`-th call of a function of `os` the process's last."""
    calls, original = [], getattr(os, name)

    def call(*args, **kwargs):
        calls.append(args)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    monkeypatch.setattr(os, name, call)


# An extraction writes three files and the record, and renames the record, the old folder and the new one.
@pytest.mark.parametrize(
    ("name", "count"), [("write", 1), ("write", 2), ("replace", 1), ("rename", 1), ("rename", 2), ("rmdir", 1)]
)
def test_killed_while_extracting_and_run_again(root, tmp_path, monkeypatch, name, count):
    path = write_zip(tmp_path / "set.zip", {"set/old.txt": b"old"})
    extracted([str(path)], None, root)
    write_zip(path)
    with monkeypatch.context() as patch:
        killed_at(patch, name, count)
        process = in_process(lambda: extracted([str(path)], None, root))
        process.join()
    assert process.exitcode == -signal.SIGKILL
    if (root / "set").exists():
        assert contents(root / "set") in ({"old.txt": b"old"}, EXPECTED)
    assert contents(extracted([str(path)], None, root)) == EXPECTED
    assert sorted(entry.name for entry in root.iterdir()) == [".lock", "set"]


def test_the_lock_is_reentrant_and_who_waits_says_so(root, caplog):
    caplog.set_level(logging.INFO)

    def hold():
        with locked(root):
            (root / "held").touch()
            time.sleep(0.3)
            (root / "held").unlink()

    process = in_process(hold)
    while not (root / "held").exists():
        time.sleep(0.001)
    with locked(root), locked(root):
        assert not (root / "held").exists()
    process.join()
    assert caplog.text.count("Waiting for another process") == 1


def test_an_error_where_nothing_can_be_locked_is_not_taken_for_one_of_the_lock(root, monkeypatch):
    def acquire(lock, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tiny_imagenet.data.fetch.archive.FileLock.acquire", acquire)
    with pytest.raises(KeyError) as caught, locked(root):
        raise KeyError("bug")
    assert user_message(caught.value) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="to mount a read-only disk needs root")
def test_what_is_on_a_read_only_disk_can_be_used(root, tmp_path):
    path = write_zip(tmp_path / "set.zip")
    extracted([str(path)], None, root)
    if subprocess.run(["mount", "--bind", "-o", "ro", root, root], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a disk")
    try:
        assert contents(extracted([str(path)], None, root)) == EXPECTED
        with pytest.raises(UserError, match="(?i)read-only"):
            extracted([str(write_zip(tmp_path / "other.zip"))], None, root)
    finally:
        subprocess.run(["umount", root], check=True)
