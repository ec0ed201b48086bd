"""What users bring beside the shipped way: folders, signals, pipes, trials, other systems."""

import os
import shlex
import signal
import subprocess
import sys

import pytest
import torch

from tests.helpers.options import callback
from tests.helpers.paths import ROOT


def test_fast_dev_run_leaves_nothing(run, small, tmp_path):
    status, output = run("fit", *small, "--trainer.fast_dev_run=true")
    assert status == 0 and "nothing was kept" in output, output
    assert not (tmp_path / "runs").exists()


def test_folders_of_the_user_s_stay(run, small, tmp_path):
    (tmp_path / "mine").mkdir()
    for options, status in ((["--trainer.fast_dev_run=true"], 0), (["--model.max_parameters=3"], 1)):
        assert run("fit", *small, "--trainer.default_root_dir=mine/deeper", *options)[0] == status
        assert list(tmp_path.iterdir()) == [tmp_path / "mine"] and not list((tmp_path / "mine").iterdir())


def test_fast_dev_run_does_not_touch_a_run(run, small, trained):
    def times():
        kept = (path for path in trained.rglob("*") if path.is_file() and path.name != ".lock")
        return {path: path.stat().st_mtime_ns for path in kept if "tfevents" not in path.name}

    before = times()
    for command in ("test", "predict"):
        status, output = run(command, f"--ckpt_path={trained}", "--trainer.fast_dev_run=true")
        assert status == 0, output
    status, output = run("fit", *small, f"--ckpt_path={trained}", "--trainer.fast_dev_run=true")
    assert status == 1 and "leave out --ckpt_path" in output
    assert times() == before


def test_default_root_dir_sets_where_runs_lie_for_everything(run, small, tmp_path):
    fit = ["fit", *small, "--trainer.default_root_dir=vm"]
    assert run(*fit, "--trainer.max_epochs=1")[0] == 0
    first = tmp_path / "vm" / "runs" / "defaults" / "version_0"
    before = (first / "checkpoints" / "last.ckpt").read_bytes()
    assert run(*fit, "--trainer.max_epochs=1")[0] == 0
    assert (first / "checkpoints" / "last.ckpt").read_bytes() == before, "another run does not overwrite it"
    status, output = run(*fit, "--ckpt_path=last")
    assert status == 0 and "Resuming at epoch 2 of 2" in output
    saved = torch.load(first.with_name("version_1") / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["epoch"] == 1 and not (tmp_path / "runs").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_a_closed_terminal_saves_unless_it_is_ignored_from_the_start(run, small, tmp_path):
    hang_up = callback("killing.SignalAt", number=int(signal.SIGHUP), at=3)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests run under nohup
    status, output = run("fit", *small, *hang_up)
    assert status == 129 and "Stopped by SIGHUP. To resume: " in output and "--ckpt_path last" in output
    last = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 4
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert run("fit", *small, *hang_up)[0] == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_are_handled_as_before_once_the_training_has_ended(run, small):
    before = signal.getsignal(signal.SIGINT)
    assert run("fit", *small, *callback("killing.SignalAt", number=15, at=1))[0] == 143
    assert signal.getsignal(signal.SIGINT) == before
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN


def test_a_pipe_whose_reader_ends_does_not_end_the_training(small, tmp_path):
    command = shlex.join([sys.executable, str(ROOT / "training.py"), "fit", *small])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -n 1"], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0 and "BrokenPipe" not in done.stderr, done.stderr
    assert len((tmp_path / "runs/defaults/version_0/metrics.csv").read_text().splitlines()) == 3


def test_it_trains_without_the_modules_that_windows_lacks(small, tmp_path):
    code = "import sys; sys.modules.update(fcntl=None, resource=None); "
    code += "from tiny_imagenet.cli import main; main(sys.argv[1:])"
    # Without fcntl, filelock's lock on this system is a file: in a folder of its own, where none was left.
    fit = ["fit", *small, f"--data.root={tmp_path / 'data'}", "--trainer.max_epochs=1"]
    done = subprocess.run(
        [sys.executable, "-c", code, *fit], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/defaults/version_0/checkpoints/last.ckpt").exists()


def test_a_start_that_fails_leaves_no_empty_folder(run, small, tmp_path):
    assert run("fit", *small, "--data.batch_size=1000")[0] == 1
    assert not (tmp_path / "runs").exists()


def test_max_steps_within_an_epoch_prints_each_epoch_once(run, small):
    status, output = run("fit", *small, "--trainer.max_steps=11")
    assert status == 0 and output.count("epoch 1/2 |") == 1 and "epoch 2/2 |" not in output
