"""On one device, steps do not wait for anything but the arithmetic."""

import json

import pytest
import torch

from tests.helpers.options import callback


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_step_reads_values_only_if_it_logs(run, small, tmp_path, precision):
    """Reading a tensor's value waits for the device. Reads are counted on the CPU, which takes the same path."""
    note = callback("watching.NoteWaits", out=tmp_path / "waits.json")
    options = ["--data.batch_size=4", "--trainer.log_every_n_steps=10", f"--trainer.precision={precision}"]
    status, output = run("fit", "--config=resnet18_baseline.yaml", *small, *options, *note)
    assert status == 0, output
    steps = json.loads((tmp_path / "waits.json").read_text())[:-1]
    assert len(steps) == 2 * 29
    assert steps[29] > 0, "the first epoch's metrics are read before the second starts; otherwise nothing is counted"
    reading = {number for number, count in enumerate(steps, start=1) if count}
    assert reading <= {10, 11, 20, 21, 30, 31, 40, 41, 50, 51}, "steps that log, and steps after those"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_steps_do_not_wait_for_a_gpu(run, archive, data_root):
    """Any wait is an error from the third step of an epoch to the last but one."""
    data = [f"--data.archive={archive}", "--data.md5=null", f"--data.root={data_root}", "--data.batch_size=8"]
    options = ["--trainer.max_epochs=1", "--trainer.devices=1", "--trainer.log_every_n_steps=100"]
    callbacks = [*callback("EMA"), *callback("watching.ForbidWaits")]
    status, output = run("fit", "--config=resnet18_aug.yaml", *data, *options, *callbacks)
    assert status == 0, output
