"""A run's folder: its names, its config, and who may write to it."""

import multiprocessing
import os
from pathlib import Path

import pytest

from tests.helpers.archives import disk, in_process
from tiny_imagenet.errors import UserError, user_message
from tiny_imagenet.run.folder import (
    RunLock,
    checkpoint_path,
    claim,
    newest_version,
    read_config,
    run_of,
    version_folder,
    version_of,
)

FORK = multiprocessing.get_context("fork")

# Names


@pytest.mark.parametrize(
    ("name", "version"),
    [("version_0", 0), ("version_12", 12), ("version_007", 7), ("version_", None), ("version_1b", None),
     ("my_version_1", None), ("version_-1", None), ("checkpoints", None)],
)  # fmt: skip
def test_the_version_of_a_folder(name, version):
    assert version_of(Path("runs/version_9") / name) == version


def test_the_newest_version_is_the_highest_number_of_a_folder(tmp_path):
    assert newest_version(tmp_path / "absent") == newest_version(tmp_path) == -1
    for name in ("version_2", "version_10", "version_9", "version_x", "other_99", "deep/version_50"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "version_77").touch()
    assert newest_version(tmp_path) == 10
    assert version_of(version_folder(tmp_path, 11)) == 11


def test_a_checkpoint_s_run_is_the_folder_above_checkpoints_or_else_its_own():
    run = Path("runs/a/version_0")
    assert checkpoint_path(run, "best") == Path("runs/a/version_0/checkpoints/best.ckpt")
    assert run_of(checkpoint_path(run, "previous")) == run
    assert run_of(Path("downloads/best.ckpt")) == Path("downloads")


# config.yaml


def test_a_config_is_read(tmp_path):
    (tmp_path / "config.yaml").write_text("trainer: {max_epochs: 3}\nmodel: {arch: résnet}\n", encoding="utf-8")
    assert read_config(tmp_path) == {"trainer": {"max_epochs": 3}, "model": {"arch": "résnet"}}


def test_a_missing_config_is_no_fault_of_the_user(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_config(tmp_path)


def test_a_folder_or_a_pipe_in_place_of_a_config_is_told(tmp_path):
    path = tmp_path / "config.yaml"
    path.mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        read_config(tmp_path)
    assert user_message(caught.value) == f"{path}: Is a directory."
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(UserError, match="is damaged: config.yaml is not a regular file"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"trainer:\n  max_epochs: 3\n  : [\nmodel: {}\n", " (line 3). "),
        (b"model: {arch: resnet18}\ndata: [1, 2\n", " (line 3). "),
        (b"model: !!python/object/apply:os.system [x]\n", ": it has the YAML tag !!python/object/apply:os.system"),
        (b"model: caf\xe9 \xff\n", ": "),
        (b"", ": it holds no options"),
        (b"- 1\n- 2\n", ": it holds no options"),
        (b"just text\n", ": it holds no options"),
        (b"trainer: [1]\n", ": it holds no options"),
    ],
    ids=["colon", "bracket", "tag", "not UTF-8", "empty", "list", "text", "trainer"],
)
def test_a_damaged_config_says_where_and_what_to_do(tmp_path, content, told):
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_config(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'config.yaml'} is damaged: ") and told in message
    assert message.endswith("Restore it, or write another in the form of configs/defaults.yaml.")


# claim


def test_a_new_run_s_folder_is_made_with_those_above_it(tmp_path):
    claim(tmp_path / "runs" / "a" / "version_0")
    assert (tmp_path / "runs" / "a" / "version_0").is_dir()


def test_a_folder_is_claimed_once(tmp_path):
    claim(tmp_path / "version_0")
    with pytest.raises(UserError, match="version_0 was just taken by another run of the same name; start this one"):
        claim(tmp_path / "version_0")


def test_a_file_in_place_of_a_folder_above_is_told(tmp_path):
    (tmp_path / "runs").touch()
    with pytest.raises(UserError, match=f"folder {tmp_path}/runs/a/version_0 can't be made: Not a directory"):
        claim(tmp_path / "runs" / "a" / "version_0")


def test_a_file_in_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "version_0").touch()
    with pytest.raises(UserError, match="can't be made"):
        claim(tmp_path / "version_0")


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path):
    with disk(tmp_path / "disk", "ro") as place:
        with pytest.raises(UserError, match=rf"{place}/runs/version_0 can't be made: Read-only file system\.$"):
            claim(place / "runs" / "version_0")


# RunLock


def test_a_lock_is_held_against_other_processes_until_it_is_released(tmp_path):
    def child(pipe):
        lock = RunLock(tmp_path)
        while pipe.recv():
            try:
                lock.acquire()
            except UserError as error:
                pipe.send(str(error))
            else:
                lock.release()
                pipe.send("taken")

    here, there = FORK.Pipe()
    other, lock = in_process(lambda: child(there)), RunLock(tmp_path)

    def asked() -> str:
        here.send(True)
        assert here.poll(30)
        return here.recv()

    assert asked() == "taken"
    lock.acquire()
    assert asked() == f"{tmp_path} is being trained by another process; wait for it, or stop it."
    lock.release()
    assert asked() == "taken"
    lock.acquire()
    assert asked() != "taken", "it can be taken again"
    lock.release()
    lock.release()  # which does nothing
    here.send(False)
    other.join(30)
    assert other.exitcode == 0


@pytest.mark.parametrize("end", ["returns", "is killed"])
def test_a_lock_ends_with_its_process(tmp_path, end):
    taken, leave = FORK.Event(), FORK.Event()

    def hold():
        lock = RunLock(tmp_path)
        lock.acquire()
        taken.set()
        leave.wait(30)

    other = in_process(hold)
    assert taken.wait(30)
    with pytest.raises(UserError, match="is being trained"):
        RunLock(tmp_path).acquire()
    other.kill() if end == "is killed" else leave.set()
    other.join(30)
    lock = RunLock(tmp_path)
    lock.acquire()
    lock.release()


def test_a_worker_process_does_not_keep_the_lock(tmp_path):
    leave = FORK.Event()
    training = os.fork()
    if training == 0:
        lock = RunLock(tmp_path)
        lock.acquire()
        if os.fork() == 0:  # a worker that outlives the training
            leave.wait(30)
        os._exit(0 if lock else 1)
    assert os.waitpid(training, 0)[1] == 0
    lock = RunLock(tmp_path)
    lock.acquire()
    lock.release()
    leave.set()


def test_a_file_system_without_locks_is_used_without_one(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.lockf", refuse)
    first, second = RunLock(tmp_path), RunLock(tmp_path)
    first.acquire()
    second.acquire()  # which a lock of the first would refuse to another process
    assert first._file and second._file
    first.release()
    second.release()
    assert first._file is None and second._file is None


def test_a_lock_needs_the_run_s_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        RunLock(tmp_path / "absent").acquire()
