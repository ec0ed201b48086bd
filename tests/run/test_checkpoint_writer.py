"""Checkpoints are written while training continues, and have the state of the moment when the save was requested."""

import os
import shutil
import threading
import time

import pytest
import torch

from tiny_imagenet.errors import UserError
from tiny_imagenet.run import checkpoint_writer as saving

NAMES = ["best.ckpt", "last.ckpt", "previous.ckpt"]


@pytest.fixture
def writer():
    writer = saving.CheckpointWriter()
    yield writer
    writer.teardown()


def value(path):
    return torch.load(path, weights_only=True)["weights"].tolist()


def test_later_changes_are_not_in_a_save(writer, tmp_path, monkeypatch):
    slow, write = threading.Event(), torch.save
    monkeypatch.setattr(torch, "save", lambda *arguments: slow.wait(60) and write(*arguments))
    weights, groups = torch.zeros(2), [{"lr": 1.0}]
    writer.save_checkpoint({"weights": weights, "groups": groups}, tmp_path / saving.UNFINISHED)
    assert not (tmp_path / "last.ckpt").exists(), "training continues before it is written"
    weights += 1
    groups[0]["lr"] = 2.0
    slow.set()
    writer.wait()
    assert value(tmp_path / "last.ckpt") == [0, 0]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["groups"] == [{"lr": 1.0}]


def test_the_names_of_four_saves(writer, tmp_path):
    for number, writer.best in enumerate([True, False, True, False]):
        writer.save_checkpoint({"weights": torch.tensor(number)}, tmp_path / saving.UNFINISHED)
    writer.wait()
    assert [value(tmp_path / name) for name in NAMES] == [2, 3, 2]
    assert sorted(os.listdir(tmp_path)) == NAMES


def test_a_save_waits_for_the_previous_one(writer, tmp_path, monkeypatch):
    slow, to_disk = threading.Event(), saving.to_disk
    monkeypatch.setattr(saving, "to_disk", lambda path: slow.wait(60) and to_disk(path))
    save = threading.Thread(target=lambda: [writer.save_checkpoint({}, tmp_path / saving.UNFINISHED) for _ in range(2)])
    save.start()
    save.join(timeout=0.2)
    assert save.is_alive()
    slow.set()
    save.join(timeout=60)
    assert not save.is_alive()


def test_a_damaged_checkpoint_does_not_replace_the_previous_one(writer, tmp_path):
    torch.save({"weights": torch.tensor(1)}, tmp_path / "previous.ckpt")
    (tmp_path / "last.ckpt").write_bytes(b"half of it")
    for number in (2, 3):
        writer.save_checkpoint({"weights": torch.tensor(number)}, tmp_path / saving.UNFINISHED)
        writer.wait()
        assert value(tmp_path / "last.ckpt") == number and value(tmp_path / "previous.ckpt") == number - 1


def test_a_checkpoint_that_was_deleted_is_no_error(writer, tmp_path):
    folder = tmp_path / "checkpoints"
    for number in range(4):
        writer.save_checkpoint({"weights": torch.tensor(number)}, folder / saving.UNFINISHED)
        writer.wait()
        assert value(folder / "last.ckpt") == number
        if number == 1:
            (folder / "last.ckpt").unlink()
        if number == 2:
            assert value(folder / "previous.ckpt") == 0, "the last one that was there"
            shutil.rmtree(folder)
    assert os.listdir(folder) == ["last.ckpt"]


def test_other_names_are_saved_as_lightning_does(writer, tmp_path):
    writer.save_checkpoint({"weights": torch.tensor(1)}, tmp_path / "epoch=1.ckpt")
    assert os.listdir(tmp_path) == ["epoch=1.ckpt"] and value(tmp_path / "epoch=1.ckpt") == 1


@pytest.mark.parametrize("then", ["save_checkpoint", "wait", "require_written"])
def test_a_failed_write_is_reported(writer, tmp_path, then):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    save = {"checkpoint": {"weights": torch.zeros(1)}, "path": tmp_path / "checkpoints" / saving.UNFINISHED}
    writer.save_checkpoint(**save)
    time.sleep(0.5)
    with pytest.raises(UserError, match="could not be saved in .*checkpoints: .*xists.* Earlier checkpoints are whole"):
        getattr(writer, then)(**(save if then == "save_checkpoint" else {}))


def test_an_error_at_the_very_end_is_logged(writer, tmp_path, caplog):
    (tmp_path / "checkpoints").write_text("")
    writer.save_checkpoint({}, tmp_path / "checkpoints" / saving.UNFINISHED)
    writer.teardown()
    assert "could not be saved" in caplog.text


def test_a_save_that_is_killed_half_way_keeps_the_best_checkpoint(run, small, finished):
    checkpoints = finished(*small) / "checkpoints"
    before = (checkpoints / "best.ckpt").read_bytes()
    # The state after kill -9 between the renames to best.ckpt and last.ckpt.
    os.link(checkpoints / "best.ckpt", checkpoints / ".saving.ckpt")
    by_memory = ["--checkpoint.monitor=memory", "--checkpoint.mode=min"]
    assert run("fit", *small, "--ckpt_path=last", "--trainer.max_epochs=3", *by_memory)[0] == 0
    assert (checkpoints / "best.ckpt").read_bytes() == before
    assert torch.load(checkpoints / "last.ckpt", weights_only=True)["epoch"] == 2
