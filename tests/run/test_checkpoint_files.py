"""Checkpoint files: whole ones, damaged ones, and files that are not checkpoints of this project."""

import errno
import os
import zipfile

import pytest
import torch

from tests.helpers.comparing import assert_same, contents
from tests.helpers.recipes import SAVE_OFTEN
from tiny_imagenet.errors import UserError
from tiny_imagenet.run.checkpoint_files import checkpoint_to_resume, is_whole


def test_a_damaged_last_checkpoint_is_named_and_the_previous_one_used(run, small, tmp_path):
    fit = ["fit", *small, *SAVE_OFTEN]
    assert run(*fit)[0] == 0
    runs = tmp_path / "runs" / "defaults"
    expected = contents(runs / "version_0")
    last = runs / "version_0" / "checkpoints" / "last.ckpt"
    os.truncate(last, last.stat().st_size // 2)
    assert not is_whole(last)
    assert checkpoint_to_resume(runs / "version_0").name == "previous.ckpt"
    status, output = run(*fit, "--ckpt_path=last")
    assert status == 0, output
    assert f"{last.relative_to(tmp_path)} is damaged" in output
    assert_same(contents(runs / "version_0"), expected)


@pytest.mark.parametrize(
    ("damaged", "told"), [(["last"], "last.ckpt is damaged:"), (["last", "previous"], "previous.ckpt are damaged:")]
)
def test_a_run_of_which_every_checkpoint_is_damaged_is_not_resumed(tmp_path, damaged, told):
    (tmp_path / "checkpoints").mkdir()
    for name in damaged:
        (tmp_path / "checkpoints" / f"{name}.ckpt").write_bytes(b"half")
    with pytest.raises(UserError, match=told):
        checkpoint_to_resume(tmp_path)


def test_a_flipped_bit_is_detected(tmp_path):
    path = tmp_path / "one.ckpt"
    content = {"weights": torch.arange(4.0), "step": 3}
    torch.save(content, path)
    whole = path.read_bytes()
    assert is_whole(path)
    for position in range(0, 8 * len(whole), 3):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        if is_whole(path):  # the bit is in a field that does not matter, such as a date
            found = torch.load(path, weights_only=True)
            assert found.keys() == content.keys() and torch.equal(found["weights"], content["weights"])


def spoiled(checkpoint):
    """Write files that are not checkpoints of this project; yields their paths and the expected messages."""
    path, whole = checkpoint.with_name("spoiled.ckpt"), checkpoint.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    yield path, "is damaged"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")
    yield path, "is damaged or no checkpoint"
    content = torch.load(checkpoint, weights_only=True)
    for other in (
        {"conv1.weight": torch.ones(2)},
        [1, 2],
        {name: content[name] for name in content if name != "dataset"},
    ):
        torch.save(other, path)
        yield path, "not written by this project: it lacks "
    for damage in ({"loops": {}}, {"dataset": [1]}, {"train_metrics": None}, {"pytorch-lightning_version": 3}):
        torch.save(content | damage, path)
        yield path, f"not written by this project: it lacks {next(iter(damage))}"
    content["state_dict"] = {name: value.flatten()[:1] for name, value in content["state_dict"].items()}
    torch.save(content, path)
    yield path, "The checkpoint's weights do not fit the network"


@pytest.mark.parametrize("command", ["fit", "test"])
def test_files_that_are_not_checkpoints(run, small, checkpoint, tmp_path, command):
    for path, message in spoiled(checkpoint):
        status, output = run(command, *small, f"--ckpt_path={path}")
        assert status == 1, output
        assert message in output and "Traceback" not in output
        assert os.listdir(tmp_path / "runs" / "defaults") == ["version_0"], "a refused training leaves no folder"


def test_weights_alone_cannot_be_resumed(run, small, checkpoint):
    content = torch.load(checkpoint, weights_only=True)
    path = checkpoint.with_name("weights.ckpt")
    content["loops"]["fit_loop"] = {}
    torch.save({name: value for name, value in content.items() if name != "optimizer_states"}, path)
    status, output = run("fit", *small, f"--ckpt_path={path}")
    assert status == 1 and "has no training state to resume: it lacks optimizer_states" in output
    status, output = run("test", *small, f"--ckpt_path={path}")
    assert status == 0, output


def test_an_unreadable_file_does_not_count_as_damaged(run, small, checkpoint, monkeypatch):
    def fail(path, *args):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(zipfile, "ZipFile", fail)
        status, output = run("fit", *small, "--ckpt_path=last")
    assert status == 1 and "last.ckpt: Input/output error." in output and "previous" not in output


class Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


def test_code_in_a_checkpoint_does_not_run(run, checkpoint, tmp_path):
    torch.save({"state_dict": {}, "attack": Attack()}, checkpoint)
    status, output = run("test", f"--ckpt_path={checkpoint}")
    assert status == 1
    assert "code" in output
    assert not (tmp_path / "attacked").exists()
