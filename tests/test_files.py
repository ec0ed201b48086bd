"""Files and folders that are never half written, and disks that are full or read-only."""

import csv
import errno
import os
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.archives import disk
from tiny_imagenet import files
from tiny_imagenet.errors import UserError
from tiny_imagenet.files import (
    continuing,
    csv_text,
    disk_errors,
    remove_leftovers,
    replace_bytes,
    replace_csv,
    replace_text,
    replace_together,
    replacing,
    require_free,
    size_text,
    to_disk,
)


def content(folder: Path) -> dict[str, bytes | None]:
    """All that lies in a folder, hidden files included, by path; None for a folder."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def fill(path: Path, kind: str, text: str) -> None:
    """Write a file, or a folder with a file and a folder in it."""
    if kind == "file":
        path.write_text(text)
    else:
        (path / "sub").mkdir(parents=True)
        (path / f"{text}.txt").write_text(text)
        (path / "sub" / "deep.txt").write_text(text)


@contextmanager
def recorded(monkeypatch, has_syncfs: bool = True):
    """The calls that write or rename, in their order, as (what, name of the file)."""
    calls, names = [], {}

    def note(what, plain, place=0):
        def noting(*arguments, **options):
            given = arguments[place]
            name = names.get(given) or Path(given).name
            calls.append((what, name.replace(str(os.getpid()), "PID")))
            return plain(*arguments, **options)

        return noting

    def opened(path, flags, *arguments, **options):
        descriptor = plain_open(path, flags, *arguments, **options)
        names[descriptor] = Path(os.fsdecode(path)).name
        return descriptor

    class Libc:
        @staticmethod
        def syncfs(descriptor: int) -> int:
            calls.append(("syncfs", names[descriptor].replace(str(os.getpid()), "PID")))
            return 0

    plain_open = os.open
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", opened)
        patch.setattr(os, "fsync", note("fsync", lambda descriptor: None))
        patch.setattr(os, "rename", note("rename", os.rename))
        patch.setattr(os, "replace", note("replace", os.replace))
        patch.setattr(files.ctypes, "CDLL", lambda *_, **__: Libc if has_syncfs else None)
        yield calls


def killed(action) -> None:
    """Do something in a process that then ends without cleaning up."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


# replacing


@pytest.mark.parametrize("before", [None, "file"])
def test_a_file_is_replaced_as_a_whole(tmp_path, before):
    if before:
        fill(tmp_path / "x", "file", "old")
    with replacing(tmp_path / "x") as beside:
        assert beside.parent == tmp_path, "on the same disk"
        beside.write_text("new")
        assert content(tmp_path).get("x") == (b"old" if before else None)
    assert content(tmp_path) == {"x": b"new"}


@pytest.mark.parametrize("before", [None, "folder", "file"])
def test_a_folder_is_replaced_as_a_whole(tmp_path, before):
    if before:
        fill(tmp_path / "x", before, "old")
    with replacing(tmp_path / "x") as beside:
        fill(beside, "folder", "new")
    assert content(tmp_path) == {"x": None, "x/new.txt": b"new", "x/sub": None, "x/sub/deep.txt": b"new"}


@pytest.mark.parametrize("before", ["file", "folder", None])
@pytest.mark.parametrize("after", ["file", "folder", None])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_where_the_body_raises_the_old_content_stays_and_nothing_is_left_beside(tmp_path, before, after, error):
    if before:
        fill(tmp_path / "x", before, "old")
    old = content(tmp_path)
    with pytest.raises(error), replacing(tmp_path / "x") as beside:
        if after:
            fill(beside, after, "new")
        raise error
    assert content(tmp_path) == old


def test_a_body_that_writes_nothing_is_an_error_and_the_old_content_stays(tmp_path):
    fill(tmp_path / "x", "file", "old")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "x"):
        pass
    assert content(tmp_path) == {"x": b"old"}


def test_a_file_does_not_take_the_place_of_a_folder(tmp_path):
    fill(tmp_path / "x", "folder", "old")
    old = content(tmp_path)
    with pytest.raises(OSError, match="x"), replacing(tmp_path / "x") as beside:
        beside.write_text("new")
    assert content(tmp_path) == old


def refuse(*_):
    raise OSError(errno.EIO, "Input/output error")


def test_a_file_that_cannot_be_renamed_stays_as_it_was(tmp_path, monkeypatch):
    fill(tmp_path / "x", "file", "old")
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="Input/output"), replacing(tmp_path / "x") as beside:
        beside.write_text("new")
    assert content(tmp_path) == {"x": b"old"}


def test_a_folder_that_cannot_be_renamed_stays_as_it_was(tmp_path, monkeypatch):
    fill(tmp_path / "x", "folder", "old")
    old = content(tmp_path)
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="Input/output"), replacing(tmp_path / "x") as beside:
        fill(beside, "folder", "new")
    assert content(tmp_path) == old


def test_a_file_reaches_the_disk_before_it_is_renamed_and_its_name_after(tmp_path, monkeypatch):
    with recorded(monkeypatch) as calls:
        replace_text(tmp_path / "x", "new")
    assert calls == [("fsync", ".x.partial-PID"), ("replace", ".x.partial-PID"), ("fsync", tmp_path.name)]


def test_a_folder_reaches_the_disk_before_it_is_renamed_and_its_name_after(tmp_path, monkeypatch):
    fill(tmp_path / "x", "folder", "old")
    with recorded(monkeypatch) as calls, replacing(tmp_path / "x") as beside:
        fill(beside, "folder", "new")
    assert calls == [
        ("syncfs", ".x.partial-PID"),
        ("rename", "x"),
        ("replace", ".x.partial-PID"),
        ("fsync", tmp_path.name),
    ]


def test_without_syncfs_each_file_and_folder_reaches_the_disk_before_it_is_renamed(tmp_path, monkeypatch):
    with recorded(monkeypatch, has_syncfs=False) as calls, replacing(tmp_path / "x") as beside:
        fill(beside, "folder", "new")
    names = (".x.partial-PID", "deep.txt", "new.txt", "sub")
    assert sorted(calls[:4]) == [("fsync", name) for name in names]
    assert calls[4:] == [("replace", ".x.partial-PID"), ("fsync", tmp_path.name)]


def test_a_disk_that_fails_is_told_with_the_name_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError) as caught:
        replace_bytes(tmp_path / "x", b"new")
    assert caught.value.filename == str(tmp_path / "x")
    assert content(tmp_path) == {}


def test_a_folder_that_does_not_reach_the_disk_is_told(tmp_path, monkeypatch):
    class Libc:
        @staticmethod
        def syncfs(descriptor: int) -> int:
            files.ctypes.set_errno(errno.ENOSPC)
            return -1

    fill(tmp_path / "x", "folder", "old")
    old = content(tmp_path)
    monkeypatch.setattr(files.ctypes, "CDLL", lambda *_, **__: Libc)
    with pytest.raises(OSError) as caught, replacing(tmp_path / "x") as beside:
        fill(beside, "folder", "new")
    assert caught.value.errno == errno.ENOSPC
    assert content(tmp_path) == old


# continuing


def test_what_the_body_wrote_is_continued_the_next_time(tmp_path):
    with pytest.raises(KeyboardInterrupt), continuing(tmp_path / "x") as beside:
        (beside / "a").touch()
        raise KeyboardInterrupt
    assert not (tmp_path / "x").exists()
    with continuing(tmp_path / "x") as beside:
        assert list(content(beside)) == ["a"]
        (beside / "b").touch()
    assert list(content(tmp_path)) == ["x", "x/a", "x/b"]


def test_of_what_several_killed_processes_left_the_latest_is_continued_under_a_new_name(tmp_path):
    for number, name in enumerate((".x.partial-3", ".x.partial-1", ".x.partial-2")):
        fill(tmp_path / name, "folder", str(number))
        os.utime(tmp_path / name, (number, number))
    with continuing(tmp_path / "x") as beside:
        assert beside.name == f".x.partial-{os.getpid()}" and os.listdir(tmp_path) == [beside.name]
    assert "x/2.txt" in content(tmp_path)


def test_a_body_that_raises_before_it_writes_leaves_nothing(tmp_path):
    with pytest.raises(ValueError), continuing(tmp_path / "x"):
        raise ValueError
    assert content(tmp_path) == {}


def test_what_is_continued_reaches_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    with recorded(monkeypatch) as calls, continuing(tmp_path / "x") as beside:
        fill(beside / "sub", "folder", "new")
    assert calls == [("syncfs", ".x.partial-PID"), ("rename", ".x.partial-PID"), ("fsync", tmp_path.name)]


# Files that belong together

TOGETHER = {"a.csv": "new é", "b.png": b"new", "vouches.json": "new"}


@pytest.fixture
def earlier(tmp_path) -> dict[str, bytes]:
    for name in TOGETHER:
        (tmp_path / name).write_text("old")
    return dict.fromkeys(TOGETHER, b"old")


def test_files_that_belong_together_appear_together(tmp_path, earlier):
    replace_together(tmp_path, TOGETHER)
    assert content(tmp_path) == {"a.csv": "new é".encode(), "b.png": b"new", "vouches.json": b"new"}
    replace_together(tmp_path / "sub", {"a": "new"})
    assert content(tmp_path / "sub") == {"a": b"new"}


def test_all_reach_the_disk_before_one_is_renamed_and_the_one_that_vouches_is_the_last(tmp_path, earlier, monkeypatch):
    with recorded(monkeypatch) as calls:
        replace_together(tmp_path, TOGETHER)
    first = next(number for number, (what, _) in enumerate(calls) if what == "replace")
    assert {name for what, name in calls[:first]} >= {f".{name}.partial-PID" for name in TOGETHER}
    assert [name for what, name in calls if what == "replace"] == [f".{name}.partial-PID" for name in TOGETHER]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_where_one_cannot_be_written_all_stay_as_they_were(tmp_path, earlier, monkeypatch, count):
    left = iter(range(count - 1))
    monkeypatch.setattr(os, "fsync", lambda _: refuse() if next(left, None) is None else None)
    with pytest.raises(OSError, match="Input/output"):
        replace_together(tmp_path, TOGETHER)
    assert content(tmp_path) == earlier


@pytest.mark.parametrize("name", TOGETHER)
def test_where_a_folder_has_the_name_of_one_all_stay_as_they_were(tmp_path, earlier, name):
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        replace_together(tmp_path, TOGETHER)
    assert caught.value.filename == str(tmp_path / name)
    assert content(tmp_path) == {**earlier, name: None}


@pytest.mark.parametrize(("count", "new"), [(1, 0), (2, 1), (3, 2)])
def test_killed_between_two_renames_the_one_that_vouches_is_missing(tmp_path, earlier, monkeypatch, count, new):
    left, plain = iter(range(count - 1)), os.replace
    monkeypatch.setattr(os, "replace", lambda *names: os._exit(0) if next(left, None) is None else plain(*names))
    killed(lambda: replace_together(tmp_path, TOGETHER))
    found = {name: text for name, text in content(tmp_path).items() if not name.startswith(".")}
    assert list(found) == ["a.csv", "b.png"] and sum(text != b"old" for text in found.values()) == new


# Leftovers


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_process_left_is_removed_and_the_rest_stays(tmp_path, kind):
    fill(tmp_path / "x", kind, "old")
    for name in (".x.partial-1.txt.mine", ".xy.partial-1", "x.partial-1", ".x.partial-", ".x.lock", ".y.old-3"):
        (tmp_path / name).touch()
    old = content(tmp_path)
    old.pop(".x.partial-1.txt.mine")  # begins as a leftover does

    def write():
        with replacing(tmp_path / "x") as beside:
            fill(beside, kind, "new")
            os._exit(0)

    killed(write)
    assert any(name.startswith(".x.partial-") and name not in old for name in content(tmp_path)), "or nothing was left"
    remove_leftovers(tmp_path / "x")
    assert content(tmp_path) == old


def test_a_killed_process_leaves_the_old_file_whole(tmp_path):
    fill(tmp_path / "x", "file", "old")

    def write():
        with replacing(tmp_path / "x") as beside:
            beside.write_text("ne")
            os._exit(0)

    killed(write)
    assert (tmp_path / "x").read_text() == "old"


def test_a_name_with_signs_of_patterns_is_taken_literally(tmp_path):
    for name in (".a+b.csv.partial-5", ".aab.csv.partial-5"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "a+b.csv")
    assert list(content(tmp_path)) == [".aab.csv.partial-5"]


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path):
    fill(tmp_path / "elsewhere", "folder", "kept")
    (tmp_path / ".x.old-1").symlink_to(tmp_path / "elsewhere")
    remove_leftovers(tmp_path / "x")
    assert "elsewhere/kept.txt" in content(tmp_path) and ".x.old-1" not in content(tmp_path)


# Texts and tables


def test_a_file_s_folder_is_made_if_need_be(tmp_path):
    replace_bytes(tmp_path / "a" / "b" / "x", b"\x00\xff")
    assert (tmp_path / "a" / "b" / "x").read_bytes() == b"\x00\xff"


def test_text_is_utf_8_and_names_that_are_not_stay_as_they_are(tmp_path):
    replace_text(tmp_path / "x", "é " + os.fsdecode(b"\xff"))
    assert (tmp_path / "x").read_bytes() == "é ".encode() + b"\xff"


def test_a_table_has_its_columns_and_leaves_empty_what_a_row_lacks(tmp_path):
    replace_csv(tmp_path / "x.csv", (name for name in ("a", "b")), iter([{"b": 1.5, "a": 'x, "y"'}, {"a": 2}]))
    assert (tmp_path / "x.csv").read_bytes() == b'a,b\n"x, ""y""",1.5\n2,\n'
    with open(tmp_path / "x.csv", newline="") as file:
        assert list(csv.reader(file)) == [["a", "b"], ['x, "y"', "1.5"], ["2", ""]]


def test_a_value_without_a_column_is_an_error_and_the_old_table_stays(tmp_path):
    (tmp_path / "x.csv").write_text("old")
    with pytest.raises(ValueError, match="'c'"):
        replace_csv(tmp_path / "x.csv", ["a"], [{"a": 1, "c": 2}])
    assert content(tmp_path) == {"x.csv": b"old"}
    assert csv_text(["a"], []) == "a\n"


# Disks


def test_files_and_folders_reach_the_disk(tmp_path, monkeypatch):
    (tmp_path / "x").touch()
    with recorded(monkeypatch) as calls:
        to_disk(tmp_path / "x")
        to_disk(tmp_path)
    assert calls == [("fsync", "x"), ("fsync", tmp_path.name)]
    with pytest.raises(FileNotFoundError):
        to_disk(tmp_path / "absent")


@pytest.mark.parametrize("number", [errno.EBADF, errno.EINVAL])
def test_a_disk_that_cannot_sync_a_folder_is_no_error(tmp_path, monkeypatch, number):
    """As SMB shares on some systems."""

    def fsync(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    replace_text(tmp_path / "x", "new")
    assert content(tmp_path) == {"x": b"new"}


@pytest.mark.parametrize(("name", "number"), [("x", errno.EINVAL), (".", errno.EIO)])
def test_other_errors_of_syncing_are_told(tmp_path, monkeypatch, name, number):
    (tmp_path / "x").touch()

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError):
        to_disk(tmp_path / name)


def test_to_disk_closes_what_it_opened(tmp_path, monkeypatch):
    (tmp_path / "x").touch()
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else pytest.skip("needs /proc")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError):
        to_disk(tmp_path / "x")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_disk_with_too_little_room_says_how_much_is_needed(tmp_path, monkeypatch):
    free = 1_500_000
    usage = type(files.shutil.disk_usage(tmp_path))(10**9, 10**9 - free, free)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: usage)
    require_free(tmp_path, free)
    with pytest.raises(UserError) as caught:
        require_free(tmp_path, free + 100_000)
    assert str(caught.value) == (
        f"{tmp_path} needs 1.6 MB, but only 1.5 MB are free there. Free some space, or choose another folder with "
        "--data.root."
    )


def test_the_room_is_that_of_the_folder_s_disk(tmp_path):
    with disk(tmp_path / "disk", "size=64k") as place:
        require_free(place, 60_000)
        with pytest.raises(UserError, match=r"needs 70\.0 kB, but only 65\.5 kB are free"):
            require_free(place, 70_000)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_says_to_free_some_space(tmp_path, number):
    with pytest.raises(UserError) as caught, disk_errors(tmp_path, needed=262_300_000):
        raise OSError(number, os.strerror(number))
    assert str(caught.value) == (
        f"{tmp_path} (262.3 MB) can't be written: {os.strerror(number)}. Free some space there, or choose another "
        "folder with --data.root."
    )


def test_another_error_of_the_disk_says_to_make_it_writable(tmp_path):
    with pytest.raises(UserError) as caught, disk_errors(tmp_path):
        raise OSError(errno.EROFS, "Read-only file system")
    assert str(caught.value).startswith(f"{tmp_path} can't be written: Read-only file system. Make it writable, or ")
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(UserError, match=r"can't be written: odd\. Make it"), disk_errors(tmp_path):
        raise OSError("odd")


def test_errors_that_are_not_of_the_disk_pass(tmp_path):
    with pytest.raises(ValueError, match="bug"), disk_errors(tmp_path):
        raise ValueError("bug")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (262_300_000, "262.3 MB"),
        (1_200_000_000, "1.2 GB"), (5_000_000_000_000, "5,000.0 GB"),
    ],
)  # fmt: skip
def test_sizes_as_people_read_them(size, text):
    assert size_text(size) == text


@pytest.mark.parametrize(("size", "text"), [(999_960, "1.0 MB"), (999_999_999, "1.0 GB")])
def test_a_size_is_rounded_before_its_unit_is_chosen(size, text):
    assert size_text(size) == text
