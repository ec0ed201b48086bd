"""Checkpoints are written while the training goes on, and are of the moment at which it asked for them."""

import os
import threading
import time

import pytest
import torch

from tiny_imagenet import saving
from tiny_imagenet.errors import UserError

NAMES = ["best.ckpt", "last.ckpt", "previous.ckpt"]


@pytest.fixture
def writer():
    writer = saving.CheckpointWriter(reader=None)
    yield writer
    writer.teardown()


def value(path):
    return torch.load(path, weights_only=True)["weights"].tolist()


def test_what_changes_after_a_save_is_not_in_it(writer, tmp_path, monkeypatch):
    slow, to_disk = threading.Event(), saving.to_disk
    monkeypatch.setattr(saving, "to_disk", lambda path: slow.wait(60) and to_disk(path))
    weights, groups = torch.zeros(2), [{"lr": 1.0}]
    writer.save_checkpoint({"weights": weights, "groups": groups}, tmp_path / "last.ckpt")
    assert not (tmp_path / "last.ckpt").exists(), "the training has gone on before it is written"
    weights += 1
    groups[0]["lr"] = 2.0
    slow.set()
    writer.wait()
    assert value(tmp_path / "last.ckpt") == [0, 0]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["groups"] == [{"lr": 1.0}]


def test_the_names_of_four_saves(writer, tmp_path):
    for number, best in enumerate([True, False, True, False]):
        options = {"best": best}
        writer.save_checkpoint({"weights": torch.tensor(number)}, tmp_path / "last.ckpt", storage_options=options)
    writer.wait()
    assert [value(tmp_path / name) for name in NAMES] == [2, 3, 2]
    assert sorted(os.listdir(tmp_path)) == NAMES


def test_saves_that_are_slow_are_waited_for_in_turn(writer, tmp_path, monkeypatch):
    to_disk = saving.to_disk
    monkeypatch.setattr(saving, "to_disk", lambda path: time.sleep(0.05) or to_disk(path))
    for number in range(4):
        writer.save_checkpoint({"weights": torch.tensor(number)}, tmp_path / "last.ckpt")
    writer.wait()
    assert value(tmp_path / "last.ckpt") == 3 and value(tmp_path / "previous.ckpt") == 2


@pytest.mark.parametrize("then", ["save", "wait"])
def test_what_could_not_be_written_is_told(writer, tmp_path, then):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    save = {"checkpoint": {"weights": torch.zeros(1)}, "path": tmp_path / "checkpoints" / "last.ckpt"}
    writer.save_checkpoint(**save)
    with pytest.raises(UserError, match="could not be saved in .*checkpoints: .*xists.* Those before are whole"):
        writer.save_checkpoint(**save) if then == "save" else writer.wait()


def test_an_error_at_the_very_end_is_logged(writer, tmp_path, caplog):
    (tmp_path / "checkpoints").write_text("")
    writer.save_checkpoint({}, tmp_path / "checkpoints" / "last.ckpt")
    writer.teardown()
    assert "could not be saved" in caplog.text
