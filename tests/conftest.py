"""Shared by the tests: a small generated data set, prepared once, and the command line run in this process."""

import os
import subprocess
import sys
from contextlib import chdir
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.helpers.copying import copy_run
from tests.helpers.paths import ROOT
from tiny_imagenet.cli import main
from tiny_imagenet.cli.app import Cli
from tiny_imagenet.cli.arguments import plan
from tiny_imagenet.data.sets.textures import write_synthetic_archive

# The tests' own callbacks are named on command lines.
os.environ["TINY_IMAGENET_ALLOW"] = "tests"

# Networks as small as these gain nothing from more threads, and lose much where other processes want the cores.
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Last, since with torch 2.11 a process that has pretended a GPU forks none that can train.
    items.sort(key=lambda item: item.path.name == "test_pretended_gpu.py")


@pytest.fixture(scope="session")
def archive(tmp_path_factory) -> Path:
    """A zip in the official layout: 4 classes, 32 training and 12 validation images each, 10 unlabelled ones."""
    path = tmp_path_factory.mktemp("archive") / "small.zip"
    write_synthetic_archive(path, classes=4, train_per_class=32, val_per_class=12, test_images=10, seed=0)
    return path


@pytest.fixture(scope="session")
def data_root(tmp_path_factory) -> Path:
    """Where the small archive is extracted and packed by the first test that uses it."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def small(archive, data_root) -> list[str]:
    """Options of a training that takes a second or two: two epochs of 8 steps on a narrow network."""
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


@pytest.fixture
def parsed(tmp_path, monkeypatch):
    """Parse and instantiate a fit's command line, in an empty working directory, without running it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["training.py"])
    monkeypatch.setattr(Cli, "_run_subcommand", lambda self, subcommand: None)
    return lambda *argv: Cli(plan(["fit", *argv]))


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Run a command line as `training.py` would, in an empty working directory.

    Returns its exit status and what it printed; runs then lie in `tmp_path / "runs"`.
    """
    monkeypatch.chdir(tmp_path)

    def run(*argv: str) -> tuple[int, str]:
        # Lightning compares the two, and warns where a test's own command line is in argv.
        monkeypatch.setattr(sys, "argv", ["training.py"])
        status = 0
        try:
            main([str(argument) for argument in argv])
        except SystemExit as leaving:
            status = leaving.code or 0
            if isinstance(status, str):
                print(status, file=sys.stderr)
                status = 1
        out, err = capfd.readouterr()
        return status, out + err

    return run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """Fit with these options, once a session. Returns the run's folder, which all tests share: `finished` copies it."""

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
    """Put a finished run of these options where `run` would, for a test to change; returns its folder."""

    def finished(*options: str) -> Path:
        version = finished_run(*options)
        capfd.readouterr()  # or the first test would find what was printed in the output of its own command
        return copy_run(version, tmp_path / version.relative_to(version.parents[2]))

    return finished


@pytest.fixture
def trained(finished, small) -> Path:
    """The folder of a finished run of two epochs, with augmentation."""
    return finished("--config=resnet18_aug.yaml", *small)


@pytest.fixture
def checkpoint(finished, small) -> Path:
    """The best checkpoint of a finished run of one epoch, which is version_0 of `defaults`."""
    return finished(*small, "--trainer.max_epochs=1") / "checkpoints" / "best.ckpt"


@pytest.fixture
def launch(tmp_path):
    """Run training.py as a process of its own, which starts those of other ranks; five minutes at most."""

    def launch(*argv: str) -> tuple[int, str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, str(ROOT / "training.py"), *argv],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return launch
