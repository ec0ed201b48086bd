"""Trainings that are killed with -9 at 35 random moments and resumed end exactly like uninterrupted ones."""

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from tests.helpers.archives import in_process
from tests.helpers.comparing import assert_same, contents
from tests.helpers.options import callback
from tests.helpers.recipes import RECIPES, SAVE_OFTEN
from tiny_imagenet.cli import main
from tiny_imagenet.run import checkpoint_writer as saving

pytestmark = pytest.mark.slow

# For each recipe: after a random time, at a random file operation of a save, in the validation of either epoch.
MOMENTS = [("time", "save", "validation")] * 5 + [("time", "save", "validation", "time")] * 5
RECIPES_AND_MOMENTS = dict(zip(RECIPES, MOMENTS, strict=True))


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train(folder: Path, argv: list[str], sabotage=lambda: None) -> int:
    """Run `training.py` with these arguments in its own process. Returns its exit status, negative if it was killed."""

    def work() -> None:
        os.chdir(folder)
        sys.argv = ["training.py"]
        torch.set_num_threads(1)
        sabotage()
        main(argv)

    process = in_process(work)
    process.join(timeout=120)
    assert process.exitcode is not None, "the training did not end"
    return process.exitcode


def kill_after(seconds: float) -> None:
    timer = threading.Timer(seconds, kill)
    timer.daemon = True
    timer.start()


def kill_while_saving(at: int) -> None:
    """Kill the process instead of the `at`-th file operation of the saves, after cutting the file in half."""
    count = 0

    def counted(operation):
        def instead(path, *others):
            nonlocal count
            count += 1
            if count == at:
                if operation is saving.to_disk and Path(path).is_file():
                    os.truncate(path, os.path.getsize(path) // 2)
                kill()
            return operation(path, *others)

        return instead

    saving.to_disk, saving._link = counted(saving.to_disk), counted(saving._link)


def weights_of_best(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]


@pytest.mark.parametrize("recipe", RECIPES_AND_MOMENTS)
def test_killed_at_a_random_moment_and_resumed_equals_never_stopped(small, tmp_path, recipe):
    draw = random.Random(recipe)
    fit = ["fit", "--config=defaults.yaml", *small, *SAVE_OFTEN, "--checkpoint.every_minutes=null", *RECIPES[recipe]]
    started = time.monotonic()
    assert train(tmp_path, fit) == 0
    duration = time.monotonic() - started
    runs = tmp_path / "runs" / "defaults"
    expected = contents(runs / "version_0")
    assert len(expected[1]) == 2

    for moment in RECIPES_AND_MOMENTS[recipe]:
        if moment == "time":
            at = draw.uniform(0, duration)
            while (status := train(tmp_path, fit, lambda at=at: kill_after(at))) == 0:
                at *= 0.8  # It ended before it was killed.
        elif moment == "save":
            at = draw.randrange(1, 30)
            status = train(tmp_path, fit, lambda at=at: kill_while_saving(at))
        else:
            at = draw.randrange(2)
            status = train(tmp_path, [*fit, *callback("killing.SigkillAt", hook="validation_batch_start", at=at)])
        assert status == -signal.SIGKILL, f"{moment} {at}"
        assert train(tmp_path, [*fit, "--ckpt_path=last"]) == 0
        newest = max(runs.glob("version_*"), key=lambda run: int(run.name.removeprefix("version_")))
        assert_same(contents(newest), expected, f"{recipe} killed: {moment} {at}")
        assert_same(weights_of_best(newest), weights_of_best(runs / "version_0"), f"{recipe} killed: {moment} {at}")


@pytest.mark.parametrize(("hook", "at", "step"), [("train_batch_start", 1, 1), ("validation_batch_start", 0, 3)])
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_all_processes_of_a_training_saves(small, tmp_path, number, expected, hook, at, step):
    """Like a signal from `timeout`, systemd or a terminal, which worker processes receive too."""
    fit = ["fit", "--config=defaults.yaml", *small, "--data.num_workers=2", "--trainer.accumulate_grad_batches=3"]
    assert train(tmp_path, fit) == 0
    stop = callback("killing.SignalAllAt", number=number, hook=hook, at=at)
    assert train(tmp_path, [*fit, *stop], lambda: os.setpgid(0, 0)) == expected
    stopped = tmp_path / "runs" / "defaults" / "version_1"
    assert torch.load(stopped / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == step
    assert train(tmp_path, [*fit, "--ckpt_path=last"]) == 0
    assert_same(contents(stopped), contents(stopped.with_name("version_0")))
