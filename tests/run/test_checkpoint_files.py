"""Checkpoint files as files: damaged ones."""

import os

import torch

from tests.helpers.comparing import assert_same, contents
from tests.helpers.recipes import SAVE_OFTEN
from tiny_imagenet.run.checkpoint_files import is_whole, resumable_checkpoint


def test_a_damaged_last_checkpoint_is_named_and_the_previous_one_used(run, small, tmp_path):
    fit = ["fit", *small, *SAVE_OFTEN]
    assert run(*fit)[0] == 0
    runs = tmp_path / "runs" / "defaults"
    expected = contents(runs / "version_0")
    last = runs / "version_0" / "checkpoints" / "last.ckpt"
    os.truncate(last, last.stat().st_size // 2)
    assert not is_whole(last)
    assert resumable_checkpoint(runs / "version_0").name == "previous.ckpt"
    status, output = run(*fit, "--ckpt_path=last")
    assert status == 0, output
    assert f"{last.relative_to(tmp_path)} is damaged" in output
    assert_same(contents(runs / "version_0"), expected)


def test_a_bit_that_was_flipped_is_noticed(tmp_path):
    path = tmp_path / "one.ckpt"
    content = {"weights": torch.arange(4.0), "step": 3}
    torch.save(content, path)
    whole = path.read_bytes()
    assert is_whole(path)
    for position in range(0, 8 * len(whole), 3):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        if is_whole(path):  # such as a date, which says nothing
            found = torch.load(path, weights_only=True)
            assert found.keys() == content.keys() and torch.equal(found["weights"], content["weights"])
