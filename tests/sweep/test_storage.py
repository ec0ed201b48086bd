"""Storages of a sweep: journals in a file, and databases on network disks."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.helpers.sweeping import enter, sweep, trials, write_sweep
from tiny_imagenet.sweep import storage
from tiny_imagenet.sweep.storage import network_disk

NFS = "server:/home /net/home nfs4 rw,relatime 0 0\n"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    return enter(tmp_path, monkeypatch)


@pytest.fixture
def mounts(tmp_path, monkeypatch):
    def write(text: str) -> None:
        (tmp_path / "mounts").write_text("/dev/vda / ext4 rw 0 0\n" + text)
        monkeypatch.setattr(storage, "MOUNTS", tmp_path / "mounts")

    return write


def test_a_journal_is_continued_and_its_search_may_not_change(folder):
    search = {"model.score": [0.1, 0.2]}
    assert sweep(write_sweep(search=search), "--storage=journal://shared/study.log") == 0
    lines = Path("shared/study.log").read_text().splitlines()
    assert sweep(write_sweep(search=search, storage=f"journal://{folder}/shared/study.log")) == 0, "an absolute path"
    assert Path("shared/study.log").read_text().splitlines()[: len(lines)] == lines
    assert [row["value"] for row in trials()] == ["0.1", "0.2"]
    status = sweep(write_sweep(search={"model.score": [0.3]}), "--storage", "journal://shared/study.log")
    assert status.startswith("error: Cannot resume the sweep sizes in journal://shared/study.log: search changed")
    assert not list(folder.rglob("*.lock.*")) and not Path("shared/study.log.lock").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"op_code": 0, "worker_id": "a', "its last line is incomplete. If it is a journal of Optuna's, delete that"),
        (b"SQLite format 3\0\xff\n\n\n", "it is not a journal of Optuna's"),
        (b'{"a": 1}\n', "it is not a journal of Optuna's"),
        (b"1\n", "it is not a journal of Optuna's"),
        (b'{"op_code": 99}\n', "it is not a journal of Optuna's"),
    ],
)
def test_a_file_that_is_no_journal_stays_as_it_is(folder, content, reason):
    Path("study.log").write_bytes(content)
    status = sweep(write_sweep(search={"model.score": [0.1]}), "--storage=journal://study.log")
    assert status.startswith(f"error: storage: journal://study.log cannot be opened: {reason}") and "\n" not in status
    assert Path("study.log").read_bytes() == content


@pytest.mark.parametrize(
    "url",
    [
        *(
            "journal://study.log",
            "journal://../study.log",
            "journal://runs/sizes/../../study.log",
            "sqlite:///study.db",
        ),
        *("sqlite+pysqlite:///made/study.db", "sqlite:///file:made/study.db?uri=true", "journal://{}/made/study.log"),
        *("sqlite:///{}/made/study.db", "sqlite:///{}/made/study.db?timeout=1"),
    ],
)
def test_a_sweep_file_makes_nothing_outside_its_folder(folder, url):
    before, url = sorted(folder.rglob("*")), url.format(folder)
    status = sweep(write_sweep(search={"model.score": [0.1]}, storage=url))
    assert status.startswith(f"error: storage: {url} cannot be opened: a sweep file may only name files below runs/")
    assert sorted(folder.rglob("*")) == sorted([*before, folder / "sizes.yaml"])


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        *(("a\0b", "null byte"), ("/" + "x" * 5000 + "/y", "too long")),
        *(
            (path, "Symlink loop|only name files") for path in ("circle/study", "{}/circle/study")
        ),  # by Python's version
    ],
)
@pytest.mark.parametrize("kind", ["journal://", "sqlite:///"])
def test_a_path_that_no_file_can_have(folder, kind, path, reason):
    os.symlink("circle", "circle")
    url = kind + path.format(folder)
    status = sweep(write_sweep(search={"model.score": [0.1]}, storage=url))
    assert status.startswith("error: storage: ") and "cannot be opened: " in status and "\n" not in status
    assert re.search(reason, status.rpartition("cannot be opened: ")[2])


@pytest.mark.parametrize("url", ["journal://runs/sizes/a/study.log", "sqlite:///runs/sizes/b/study.db"])
def test_a_sweep_file_may_name_a_file_in_its_folder(folder, url):
    assert sweep(write_sweep(search={"model.score": [0.1]}, storage=url)) == 0
    assert Path(url.partition("://")[2].lstrip("/")).is_file()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_a_journal_that_would_never_end_is_refused(folder, make):
    make("study.log")
    status = sweep(write_sweep(search={"model.score": [0.1]}), "--storage=journal://study.log")
    assert status == "error: storage: journal://study.log cannot be opened: it is a pipe or a device"


@pytest.mark.parametrize(
    ("line", "path", "kind"),
    [
        (NFS, "/net/home/a/study.db", "nfs4"),
        (NFS, "/net/homes/study.db", None),
        (NFS + "tmpfs /net/home/scratch tmpfs rw 0 0\n", "/net/home/scratch/study.db", None),
        ("tmpfs /net/home tmpfs rw 0 0\n" + NFS, "/net/home/study.db", "nfs4"),  # mounted over it
        ("//host/share /mnt/my\\040share cifs rw 0 0\n", "/mnt/my share/study.db", "cifs"),
        ("//host/share /mnt/s smb3 rw 0 0\n", "/mnt/s/study.db", "smb3"),
        ("me@host: /mnt/s fuse.sshfs rw 0 0\n", "/mnt/s/study.db", "fuse.sshfs"),
        ("nfsd /mnt/s nfsd rw 0 0\n", "/mnt/s/study.db", None),
    ],
)
def test_which_disk_is_a_network_s(mounts, line, path, kind):
    mounts(line)
    assert network_disk(Path(path)) == kind


def test_this_machine_s_disks_are_read_as_df_reads_them(monkeypatch):
    monkeypatch.setattr(storage, "NETWORK_DISKS", storage.re.compile(".*"))  # so that every type is named
    for path in ("/", "/proc/self", "/dev/shm"):
        df = subprocess.run(["df", "--output=fstype", path], capture_output=True, text=True)
        if df.returncode:
            pytest.skip("this system's df names no types")
        assert network_disk(Path(path)) == df.stdout.split()[-1]


def test_a_system_without_a_list_of_mounts(monkeypatch, tmp_path):
    monkeypatch.setattr(storage, "MOUNTS", tmp_path / "absent")
    assert network_disk(tmp_path) is None


@pytest.mark.parametrize("url", [None, "sqlite:///runs/sizes/other.db"])
def test_sqlite_on_a_network_disk_is_told_in_one_line(folder, mounts, capfd, url):
    mounts(f"server:/x {folder} nfs rw 0 0\n")
    assert sweep(write_sweep(search={"model.score": [0.1]}, storage=url)) == 0
    file = "runs/sizes/study" if url is None else "runs/sizes/other"
    notes = [line for line in capfd.readouterr().out.splitlines() if "network disk" in line]
    assert notes == [
        f"Note: {file}.db is on a network disk (nfs), where SQLite can fail or lose trials. For a new sweep, write "
        f"storage: journal://{file}.log in the sweep file."
    ]
    assert sweep(write_sweep(search={"model.score": [0.1]}, storage=f"journal://{file}.log")) == 0
    assert "network disk" not in capfd.readouterr().out
