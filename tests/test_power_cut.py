"""The power is cut while data are extracted and packed, while a training saves, and just after: nothing is lost.

The disk is a real one, ext4 in a file, and the cut a copy of what had reached it at that moment.
"""

import logging
import os
import random
import shutil
import sys
import time
from multiprocessing import Process
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.archives import in_process
from tests.helpers.comparing import assert_same, contents
from tests.helpers.power import power_disk
from tests.helpers.recipes import SAVE_OFTEN
from tiny_imagenet import files
from tiny_imagenet.cli import main
from tiny_imagenet.data import TinyImageNetDataModule
from tiny_imagenet.run import checkpoint_writer

pytestmark = pytest.mark.slow

CUTS = int(os.environ.get("POWER_CUTS", 5))
AFTER = 4.0  # seconds after the end in which a cut is tried too: names reach the disk then, contents much later


@pytest.fixture
def disk(tmp_path):
    with power_disk(tmp_path / "disk") as disk:
        yield disk


def data_module(root: Path, archive: Path) -> TinyImageNetDataModule:
    return TinyImageNetDataModule(root=str(root), archive=str(archive), md5=None, holdout=0, batch_size=16)


def prepare(root: Path, archive: Path) -> None:
    logging.getLogger("tiny_imagenet").setLevel(logging.ERROR)
    data = data_module(root, archive)
    data.prepare_data()
    (root / "prepared").touch()


def pixels(data: TinyImageNetDataModule) -> dict[str, torch.Tensor]:
    return {split: images[np.arange(len(images))][0] for split, images in data.sets.items()}


def wait(process: Process, draw: random.Random, duration: float, to_the_end: bool) -> None:
    """Until a random moment of work that takes as long, or a random moment after its end."""
    if to_the_end:
        process.join()
        time.sleep(draw.uniform(0, AFTER))
    else:
        time.sleep(draw.uniform(0.2, 1) * duration)


def never_synced(monkeypatch) -> None:
    """As before contents were written to the disk before they got their names."""
    monkeypatch.setattr(files, "_tree_to_disk", lambda folder: None)
    monkeypatch.setattr(files, "to_disk", lambda path: None)


def test_the_cut_is_real(disk, archive, monkeypatch):
    never_synced(monkeypatch)
    prepare(disk.folder, archive)
    time.sleep(AFTER)
    disk.cut()
    found = [path.stat().st_size for path in (disk.folder / "small").rglob("*.JPEG")]
    assert (disk.folder / "small" / "wnids.txt").stat().st_size == 0 and len(found) == 186 and not any(found)
    # With its archive still there, even this is mended.
    prepare(disk.folder, archive)
    assert (disk.folder / "small" / "wnids.txt").stat().st_size > 0


def test_extracting_and_packing(disk, archive, tmp_path, monkeypatch):
    expected = data_module(tmp_path / "elsewhere", archive)
    started = time.monotonic()
    expected.prepare_data()
    duration = time.monotonic() - started
    draw, extracted, packed = random.Random(0), 0, 0
    for number in range(CUTS):
        shutil.rmtree(disk.folder / "small", ignore_errors=True)
        os.sync()
        process = in_process(lambda: prepare(disk.folder, archive))
        wait(process, draw, duration, to_the_end=number % 2 == 0)
        disk.cut(process)
        extracted += (disk.folder / "small").exists()
        packed += (disk.folder / "small" / "packed" / "val").exists()
        with monkeypatch.context() as patch:
            patch.setattr("tiny_imagenet.data.sets.base.extract_again", None)  # Nothing is lost that needs it.
            found = data_module(disk.folder, archive)
            found.prepare_data()
        assert_same(pixels(found), pixels(expected), f"cut {number}")
    print(f"{CUTS} cuts: the folder was there after {extracted}, all packs after {packed}; nothing was lost")
    assert extracted, "cuts came too early to show anything"


def test_training(disk, small, tmp_path):
    fit = ["fit", "--config=defaults.yaml", *small, *SAVE_OFTEN, "--checkpoint.every_minutes=null"]

    def train(folder: Path, *options: str) -> None:
        os.chdir(folder)
        sys.argv = ["training.py"]
        main([*fit, *options])

    def to_the_end(folder: Path, *options: str) -> float:
        started = time.monotonic()
        process = in_process(lambda: train(folder, *options))
        process.join(120)
        assert process.exitcode == 0
        return time.monotonic() - started

    to_the_end(tmp_path)
    duration = to_the_end(tmp_path)
    run = Path("runs", "defaults", "version_0")
    expected = contents(tmp_path / run)
    draw, resumed = random.Random(0), 0
    for number in range(CUTS):
        shutil.rmtree(disk.folder / "runs", ignore_errors=True)
        os.sync()
        process = in_process(lambda: train(disk.folder))
        wait(process, draw, duration, to_the_end=number % 3 == 0)
        disk.cut(process)
        resumed += (disk.folder / run / "checkpoints" / "last.ckpt").exists()
        for checkpoint in (disk.folder / run).glob("checkpoints/*.ckpt"):
            assert checkpoint.name == checkpoint_writer.UNFINISHED or checkpoint_writer.is_whole(checkpoint)
        to_the_end(disk.folder, "--ckpt_path=last")
        newest = max((disk.folder / run.parent).glob("version_*"))
        assert_same(contents(newest), expected, f"cut {number}")
    print(f"{CUTS} cuts: resumed from a checkpoint after {resumed}; every training ended as if never cut")
    assert resumed, "cuts came too early to show anything"
