"""Makes the files of one format with the version of the project that it lies in: python tests/formats/make.py NUMBER

It uses commands only, as their users do, and so runs with every version. It writes NUMBER.tar.xz, a working directory
with all that these commands left, and NUMBER.json, what later versions must find in it.
"""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from csv import DictReader
from pathlib import Path

import numpy as np
import torch
from PIL import Image

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
COLOURS = {"ant": (200, 90, 90), "bee": (90, 200, 90), "cat": (90, 90, 200)}
TIME = 1_700_000_000  # of the images: whole seconds, which tar keeps exactly
CONFIG = """\
trainer: {max_epochs: 3, accelerator: cpu, devices: 1, precision: 32-true}
model:
  {arch: resnet18, blocks: [1, 1, 1, 1], width: 0.03, downsampling: max_pool,
   optimizer: {init_args: {lr: 0.03}}}
data:
  class_path: ImageFolderDataModule
  init_args:
    {root: data, image_size: 16, batch_size: 8, holdout: 0.25, augment: [{class_path: RandomHorizontalFlip}]}
"""
SWEEP = """\
config: small.yaml
options: {trainer.max_epochs: 1}
search: {model.optimizer.lr: {low: 0.01, high: 0.1}}
trials: 2
"""


def main(number: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_images(Path("data"))
        Path("small.yaml").write_text(CONFIG)
        Path("sizes.yaml").write_text(SWEEP)
        training("fit", "--config", "small.yaml")
        whole = Path("runs/small/version_0")
        training("test", "--ckpt_path", str(whole / "checkpoints/best.ckpt"))
        training("fit", "--config", "small.yaml", "--trainer.max_steps", "6")
        command("-m", "tiny_imagenet.sweep", "sizes.yaml")
        with tarfile.open(HERE / f"{number}.tar.xz", "w:xz") as archive:
            for name in ("data", "runs", "small.yaml", "sizes.yaml"):
                archive.add(name, filter=without_waste)
        stopped = Path("runs/small/version_1")
        training("fit", "--config", "small.yaml", "--ckpt_path", str(stopped), "--trainer.max_steps", "-1")
        (cache,) = Path("data").rglob("pixels.npy")
        expected = {
            "torch": torch.__version__,
            "test": json.loads((whole / "test_metrics.json").read_text()),
            "resumed": table(stopped / "metrics.csv"),
            "trials": table(Path("runs/sizes/trials.csv")),
            "pixels": int(np.load(cache).astype(np.int64).sum()),
        }
        (HERE / f"{number}.json").write_text(json.dumps(expected, indent=1) + "\n")


def write_images(folder: Path) -> None:
    """Of each class 16 images, which a small network tells apart most of the time; PNG, so that pixels are exact."""
    draw = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(16):
            blocks = np.array(colour) + draw.normal(0, 120, (4, 4, 3))
            path = folder / name / f"{number}.png"
            Image.fromarray(blocks.clip(0, 255).astype(np.uint8)).resize((16, 16), Image.Resampling.NEAREST).save(path)
            os.utime(path, (TIME, TIME))


def without_waste(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out what is large or names this machine, and is written again or never read."""
    waste = (".lock", "examples.png", "previous.ckpt", "log.txt", "best.yaml")
    return None if member.name.endswith(waste) or "tfevents" in member.name else member


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(DictReader(file))


def training(*argv: str) -> None:
    command(str(ROOT / "training.py"), *argv)


def command(*argv: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *argv], check=True, env=environment)


if __name__ == "__main__":
    main(*sys.argv[1:])
