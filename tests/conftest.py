"""Fixtures of all tests: a small generated data set, prepared once, and the command line, run in this process."""

import logging
import os
import signal
import subprocess
import sys
from contextlib import chdir
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.helpers.commands import exit_status
from tests.helpers.copying import copy_run
from tests.helpers.paths import ROOT
from tiny_imagenet.cli import main
from tiny_imagenet.cli.arguments import plan
from tiny_imagenet.cli.lightning_cli import Cli
from tiny_imagenet.data.sets.textures import write_synthetic_archive

# Command lines name the tests' own callbacks.
os.environ["TINY_IMAGENET_ALLOW"] = "tests"

# Such small networks gain nothing from more threads, and the same number every time gives the same sums.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Last, because with torch 2.11 training fails in processes that are forked after a GPU was simulated.
    items.sort(key=lambda item: item.path.name == "test_pretended_gpu.py")


@pytest.fixture
def ctrl_c():
    """SIGINT reaches child processes even where a script started the tests with &, which makes them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def archive(tmp_path_factory) -> Path:
    """A zip in the official layout: 4 classes of 32 training and 12 validation images, and 10 unlabelled images."""
    path = tmp_path_factory.mktemp("archive") / "small.zip"
    write_synthetic_archive(path, classes=4, train_per_class=32, val_per_class=12, test_images=10, seed=0)
    return path


@pytest.fixture(scope="session")
def data_root(tmp_path_factory) -> Path:
    """The folder in which the first test that needs it extracts and packs the small archive."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def small(archive, data_root) -> list[str]:
    """Options of a training that takes a second or two: two epochs of 8 steps, and a narrow network."""
    return [
        f"--data.archive={archive}",
        "--data.md5=null",
        f"--data.root={data_root}",
        "--data.image_size=32",
        "--data.batch_size=16",
        "--model.width=0.125",
        "--model.stem=imagenet",
        "--trainer.accelerator=cpu",
        "--trainer.precision=32-true",  # on every CPU
        "--trainer.max_epochs=2",
        "--trainer.log_every_n_steps=2",
    ]


@pytest.fixture(autouse=True)
def loggers():
    """Leave the handlers of the log as they were: commands set their own, and so do libraries (MLflow the root's)."""
    root, package = logging.getLogger(), logging.getLogger("tiny_imagenet")
    before, of_package, level = root.handlers[:], package.handlers[:], package.level
    yield
    for handler in [handler for handler in root.handlers if handler not in before]:
        root.removeHandler(handler)
    package.handlers, package.propagate = of_package, True
    package.setLevel(level)


@pytest.fixture
def parsed(tmp_path, monkeypatch):
    """Parse a command line of `fit` and instantiate its classes, in an empty working directory, without training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["training.py"])
    monkeypatch.setattr(Cli, "_run_subcommand", lambda self, subcommand: None)
    return lambda *argv: Cli(plan(["fit", *argv]))


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Run a command line as `training.py` would, in an empty working directory.

    Returns its exit status and output; runs are in `tmp_path / "runs"`.
    """
    monkeypatch.chdir(tmp_path)

    def run(*argv: str) -> tuple[int, str]:
        # Lightning warns if sys.argv holds other arguments, such as those of pytest.
        monkeypatch.setattr(sys, "argv", ["training.py"])
        status = exit_status(main, argv)
        out, err = capfd.readouterr()
        return status, out + err

    return run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """Fit with these options, once per session. Returns the run's folder, which tests share and must not change."""

    @cache
    def finished_run(*options: str) -> Path:
        folder = tmp_path_factory.mktemp("finished")
        with chdir(folder), pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["training.py"])
            main(["fit", *options])
        (version,) = folder.glob("runs/*/version_0")
        return version

    return finished_run


@pytest.fixture
def finished(finished_run, run, tmp_path, capfd):
    """Copy a finished run with these options to where `run` would put it, for a test to change. Returns its folder."""

    def finished(*options: str) -> Path:
        version = finished_run(*options)
        capfd.readouterr()  # discards the output of the training
        return copy_run(version, tmp_path / version.relative_to(version.parents[2]))

    return finished


@pytest.fixture
def trained(finished, small) -> Path:
    """The folder of a finished run with two epochs and augmentation."""
    return finished("--config=resnet18_aug.yaml", *small)


@pytest.fixture
def checkpoint(finished, small) -> Path:
    """The best checkpoint of a finished run with one epoch, version_0 of `defaults`."""
    return finished(*small, "--trainer.max_epochs=1") / "checkpoints" / "best.ckpt"


@pytest.fixture
def launch(tmp_path):
    """Run training.py in its own process, which starts the processes of other ranks, for five minutes at most."""

    def launch(*argv: str, threads: int = 1) -> tuple[int, str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(
            [sys.executable, str(ROOT / "training.py"), *argv],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return launch
