"""The measurements of each stage, from files to training steps, and of the alternatives."""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from tiny_imagenet.benchmark import alternatives, choices, pipelines, steps
from tiny_imagenet.benchmark.cpu import busy_process
from tiny_imagenet.benchmark.timing import Contestant, Rates, race, ratio
from tiny_imagenet.data import ImageDataModule
from tiny_imagenet.data.augment import (
    ColorJitter,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    TrivialAugmentWide,
)
from tiny_imagenet.data.images.pack_workers import decode_tasks, tasks_of
from tiny_imagenet.data.images.scan import ImageFiles
from tiny_imagenet.progress import progress
from tiny_imagenet.threads import VARIABLE, Load, choose

BATCH = 128
OURS, TORCHVISION, ANCESTOR = "this project", "torchvision v2 per image", "the ancestor (PIL, 250 to 224)"
CROP_FLIP = "crop + flip"  # the recipe of pipelines.OURS that is compared most
BUSY = "beside a busy process"
SECONDS = 30  # that a training may take, half of them for the bare loop
FEWEST_TURNS, MOST_STEPS = 7, 200
WORK = {"resnet34_aug": 2, "resnet50_aug": 2.5}  # of an image, relative to ResNet-18
BARE = "a bare step"


class Training(NamedTuple):
    """A training to measure: `steps` of `fit` and of a bare loop, in turns of `turn` steps."""

    recipe: str
    batch_size: int
    turn: int
    steps: int
    relative: float  # the work of a step, relative to one of ResNet-18 on BATCH images
    busy: bool = False  # whether another process keeps a core busy

    @property
    def name(self) -> str:
        return f"{self.recipe}, batch {self.batch_size}" + (f", {BUSY}" if self.busy else "")


def image_stages(
    data: ImageDataModule, device: torch.device, workers: int, options: argparse.Namespace
) -> dict[str, dict[str, Rates]]:
    """Packing, reading, each augmentation alone, and whole pipelines next to alternatives with `workers` processes."""
    files = data.packed("train").files
    single = [RandomCrop(padding=8), RandomResizedCrop(64), RandomHorizontalFlip(), ColorJitter(**pipelines.JITTER),
              TrivialAugmentWide(), RandomErasing(p=0.1)]  # fmt: skip
    parts = {"read a batch": pipelines.reading(data, BATCH)}
    parts |= {type(each).__name__: pipelines.one_augmentation(data, each, BATCH, device) for each in single}
    found = {"parts": {"decode and pack": {"images_per_s": [packing(files) for _ in range(2)]}}}
    found["parts"] |= race(parts, options.rounds, options.seconds, "parts")
    with tempfile.TemporaryDirectory() as folder:
        for recipe, augmentations in pipelines.OURS.items():
            info = data.info
            transform = pipelines.torchvision_transforms(recipe, data.pipeline.image_size, info.mean, info.std)
            compared = {
                OURS: pipelines.packed(data, augmentations, BATCH, device, mix=pipelines.MIXES.get(recipe)),
                TORCHVISION: pipelines.image_files(files.folder, transform, BATCH, workers, device)[0],
            }
            if recipe == CROP_FLIP:
                compared |= {
                    f"{name}, {BUSY}": replace(each, beside=_beside_a_busy_process) for name, each in compared.items()
                }
                compared |= _other_ways(data, device, workers, Path(folder))
            found[recipe] = race(compared, options.rounds, options.seconds, recipe)
    return found


@contextmanager
def _beside_a_busy_process() -> Iterator[None]:
    """With as many threads as a training has that starts beside it."""
    before = torch.get_num_threads()
    with busy_process():
        if VARIABLE not in os.environ:
            torch.set_num_threads(choose(Load()).threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _other_ways(data: ImageDataModule, device: torch.device, workers: int, folder: Path) -> dict[str, Contestant]:
    """Crop and flip by the ancestor, by other packages, and otherwise by this project."""
    files, transform = data.packed("train").files, pipelines.ancestor_transforms()
    ways = {ANCESTOR: pipelines.image_files(files.folder, transform, BATCH, workers, device)[0]}
    ways |= alternatives.pipelines(data, BATCH, workers, device, folder)
    if device.type == "cuda":
        ours = pipelines.OURS[CROP_FLIP]
        ways["without pinned memory"] = pipelines.packed(data, ours, BATCH, device, pinned=False)
        ways["all images on the GPU"] = pipelines.on_the_device(data, ours, BATCH, device)
    return ways


def packing(files: ImageFiles, count: int = 10_000) -> float:
    """Images/s of decoding the first `count` images of a set and writing them, at 64×64."""
    first = files.part(0, count)
    with tempfile.TemporaryDirectory(dir=files.folder.parent) as folder:
        path = Path(folder) / "pixels.npy"
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(first), 64, 64, 3))
        start = time.perf_counter()
        decode_tasks(first, 64, path, tasks_of(len(first), 64), done=lambda task, decoded: None)
        return len(first) / (time.perf_counter() - start)


def trainings(device: torch.device, images: int, step_seconds: float, steps: int | None) -> list[Training]:
    """The trainings to measure, the first of them also beside a busy process. For the arguments, see `plan`."""
    if device.type == "cuda":
        recipes = [(f"resnet{depth}_aug", size) for depth in (18, 34, 50) for size in (256, 1024)]
        recipes += [("records/tiny_resnet18_fast", 256), ("records/tiny_resnet18_long", 128)]
    else:
        recipes = [("resnet18_aug", BATCH), ("resnet18_baseline", BATCH)]
    first, *others = (plan(recipe, size, device, images, step_seconds, steps) for recipe, size in recipes)
    return [first, first._replace(steps=min(first.steps, FEWEST_TURNS * first.turn), busy=True), *others]


def plan(
    recipe: str, batch_size: int, device: torch.device, images: int, step_seconds: float, steps: int | None
) -> Training:
    """The length of a training: without a number of `steps`, as many as take SECONDS, beside a bare loop.

    Args:
        images: in the training set; a training is an epoch at most.
        step_seconds: of a step of ResNet-18 on BATCH images.
    """
    relative = WORK.get(recipe, 1) * batch_size / BATCH
    # On a GPU a turn takes a second, so that its utilisation can be sampled; on a CPU steps are long.
    turn = max(5, round(1 / (step_seconds * relative))) if device.type == "cuda" else 2
    wanted = steps or min(MOST_STEPS, int(SECONDS / 2 / (step_seconds * relative)))
    count = min(max(wanted, FEWEST_TURNS * turn), images // batch_size)
    return Training(recipe, batch_size, turn, count, relative)


def training_steps(
    data: ImageDataModule, planned: list[Training], fit_options: list[str], device: torch.device, workers: int,
    options: argparse.Namespace,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """`fit` in turns with a bare loop; then the ancestor and other packages, in turns with a bare loop as well."""
    found = {training.name: fit_row(training, fit_options, device) for training in planned}
    batch_size, folder = planned[0].batch_size, data.sets["train"].files.folder
    others = {BARE: choices.contestants(device, batch_size)[choices.DEFAULT]}
    others[ANCESTOR] = steps.ancestor_training(folder, workers, device, len(data.classes.ids))
    others |= alternatives.trainings(data, batch_size, workers, device)
    rates = race(others, options.rounds, options.seconds, "other trainings")
    for name, each in rates.items():
        if name != BARE:
            medians = {what: statistics.median(values) for what, values in each.items()}
            found[name] = medians | {"ratio": ratio(rates, name, BARE)}
    return found


def fit_row(training: Training, fit_options: list[str], device: torch.device) -> dict[str, Any]:
    """What `steps.fit_beside_bare_loop` finds of a training, or why it `failed`."""
    torch.cuda.empty_cache()  # for the training, which is another process
    cheaper = [] if device.type == "cuda" else ["--model.stem=imagenet"]
    options = [f"--config={training.recipe}.yaml", f"--data.batch_size={training.batch_size}", *cheaper, *fit_options]
    try:
        with busy_process() if training.busy else nullcontext():
            return steps.fit_beside_bare_loop(options, training.steps, training.turn)
    except RuntimeError as error:  # such as a GPU with too little memory
        return {"failed": str(error).strip().splitlines()[-1]}


def start_up(fit_options: list[str], rounds: int) -> dict[str, list[float]]:
    """Seconds from the command until training reached each stage, and of the imports alone, in turns."""
    found: dict[str, list[float]] = {}
    with progress("start", rounds, "starts") as advance:
        for _ in range(rounds):
            found.setdefault("import lightning.pytorch.cli", []).append(steps.import_seconds())
            for stage, seconds in steps.first_step(["--config=resnet18_aug.yaml", *fit_options]).items():
                found.setdefault(stage, []).append(seconds)
            advance(1)
    return found


def curves(data: ImageDataModule, device: torch.device, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Median images/s of crop and flip by batch size, image size and number of the loader's worker processes."""

    def packed(batch_size: int = BATCH, **others: int) -> Contestant:
        return pipelines.packed(data, pipelines.OURS[CROP_FLIP], batch_size, device, **others)

    lines = {
        "batch size": {str(n): packed(n) for n in (32, 64, 128, 256, 512, 1024)},
        "image size (pixels)": {str(n): packed(size=n) for n in (32, 48, 64, 96, 128)},
        "worker processes": {str(n): packed(workers=n) for n in (0, 1, 2, 4)},
    }
    return {
        quantity: {
            value: statistics.median(rates["images_per_s"])
            for value, rates in race(line, options.rounds, options.seconds, quantity).items()
        }
        for quantity, line in lines.items()
    }
