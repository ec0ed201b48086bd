"""Ctrl-C and SIGTERM save, and print the command to resume."""

import os
import signal

import pytest
import torch

from tests.helpers.archives import in_process
from tests.helpers.comparing import assert_same, contents
from tests.helpers.options import callback
from tests.helpers.recipes import PLATEAU
from tiny_imagenet.cli import main
from tiny_imagenet.run.checkpoint_writer import CheckpointWriter


@pytest.mark.parametrize(
    ("number", "status", "hook", "at", "step"),
    [
        (signal.SIGINT, 130, "train_batch_start", 9, 10),  # saved at the end of the step in which the signal came
        (signal.SIGTERM, 143, "train_batch_start", 9, 10),
        (signal.SIGTERM, 143, "train_batch_start", 7, 8),  # an epoch's last step: saved after its validation
        (signal.SIGTERM, 143, "validation_batch_start", 0, 8),
    ],
)
def test_a_signal_saves_and_prints_how_to_resume(run, small, finished, number, status, hook, at, step):
    runs = finished(*small, *PLATEAU).parent
    fit = ["fit", *small, *PLATEAU]
    found, output = run(*fit, *callback("killing.SignalAt", number=number, hook=hook, at=at))
    assert found == status
    assert "--ckpt_path last" in output
    saved = torch.load(runs / "version_1" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == step
    assert run(*fit, "--ckpt_path=last")[0] == 0
    assert_same(contents(runs / "version_1"), contents(runs / "version_0"))


def test_a_signal_before_the_first_step_takes_effect_after_it(run, small, tmp_path):
    status, output = run("fit", *small, *callback("killing.SignalAt", number=15, hook="train_start", at=0))
    assert status == 143 and "--ckpt_path last" in output, output
    last = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 1


def test_a_test_that_a_signal_ended_does_not_count_as_complete(run, checkpoint):
    test = ["test", f"--ckpt_path={checkpoint.with_name('last.ckpt')}"]
    stop = callback("killing.SignalAt", number=signal.SIGTERM, hook="test_batch_start", at=0)
    status, output = run(*test, *stop)
    assert status == 143 and "Stopped by SIGTERM" in output
    assert not (checkpoint.parents[1] / "test_metrics.json").exists()


def test_a_second_ctrl_c_leaves_at_once(small, tmp_path):
    interrupt = callback("killing.SignalAt", number=2, at=9)
    save = CheckpointWriter.save_checkpoint

    def save_and_wait(writer, *arguments, **options):
        save(writer, *arguments, **options)
        writer.wait()

    def work():
        os.chdir(tmp_path)
        CheckpointWriter.save_checkpoint = save_and_wait  # Otherwise the first epoch's save may not be on the disk yet.
        main(["fit", *small, *interrupt, *interrupt])

    process = in_process(work)
    process.join(timeout=120)
    assert process.exitcode == 130
    last = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 8, "the first epoch's; nothing was saved after it"
