"""The measurements of each stage, from files to training steps, and of the alternatives."""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from tiny_imagenet.benchmark import pipelines, steps
from tiny_imagenet.benchmark.timing import race
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

BATCH = 128
OURS, TORCHVISION, ANCESTOR = "this project", "torchvision v2 per image", "the ancestor (PIL, 250 to 224)"
Rates = dict[str, list[float]]  # images/s in each round
SECONDS = 60  # that a training may take on a CPU, half of them for the bare loop
FEWEST_TURNS, MOST_STEPS = 7, 200


class Training(NamedTuple):
    """A training to measure: `steps` of `fit` and of a bare loop, in turns of `turn` steps."""

    recipe: str
    batch_size: int
    turn: int
    steps: int
    relative: float  # the work of a step, relative to one of ResNet-18 on BATCH images


def image_stages(
    data: ImageDataModule, device: torch.device, workers: int, options: argparse.Namespace
) -> dict[str, Rates]:
    """Packing, reading, each augmentation alone, and whole pipelines next to alternatives with `workers` processes."""
    files = data.packed("train").files
    single = [RandomCrop(padding=8), RandomResizedCrop(64), RandomHorizontalFlip(), ColorJitter(**pipelines.JITTER),
              TrivialAugmentWide(), RandomErasing(p=0.1)]  # fmt: skip
    parts = {"read a batch": pipelines.reading(data, BATCH)}
    parts |= {type(each).__name__: pipelines.one_augmentation(data, each, BATCH, device) for each in single}
    found = {"parts": {"decode and pack": [packing(files) for _ in range(2)]}}
    found["parts"] |= race(parts, options.rounds, options.seconds, "parts")
    for recipe, augmentations in pipelines.OURS.items():
        transform = pipelines.torchvision_transforms(recipe, data.pipeline.image_size, data.info.mean, data.info.std)
        compared = {
            OURS: pipelines.packed(data, augmentations, BATCH, device, mix=pipelines.MIXES.get(recipe)),
            TORCHVISION: pipelines.image_files(files.folder, transform, BATCH, workers, device)[0],
        }
        if recipe == "crop + flip":
            transform = pipelines.ancestor_transforms()
            compared[ANCESTOR] = pipelines.image_files(files.folder, transform, BATCH, workers, device)[0]
            if kornia := pipelines.kornia_pipeline(data, BATCH, device):
                compared["kornia, batch already on the device"] = kornia
            if device.type == "cuda":
                compared["without pinned memory"] = pipelines.packed(data, augmentations, BATCH, device, pinned=False)
                compared["all images on the GPU"] = pipelines.on_the_device(data, augmentations, BATCH, device)
        found[recipe] = race(compared, options.rounds, options.seconds, recipe)
    return found


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
    """The trainings to measure; without a number of `steps`, as many as take SECONDS.

    Args:
        images: in the training set; a training is an epoch at most.
        step_seconds: of a step of ResNet-18 on BATCH images.
    """
    if device.type == "cuda":
        recipes = [(f"resnet{depth}_aug", size, work) for depth, work in ((18, 1), (34, 2), (50, 2.5))
                   for size in (256, 1024)]  # fmt: skip
        recipes += [("records/tiny_resnet18_fast", 256, 1), ("records/tiny_resnet18_long", 128, 1)]
    else:
        recipes = [("resnet18_aug", BATCH, 1), ("resnet18_baseline", BATCH, 1)]
    found = []
    for recipe, batch_size, work in recipes:
        # On a GPU a turn takes at least half a second, so that its utilisation can be sampled; on a CPU steps are long.
        turn = max(10, 12_800 // batch_size) if device.type == "cuda" else 2
        relative = work * batch_size / BATCH
        wanted = steps or min(MOST_STEPS, int(SECONDS / 2 / (step_seconds * relative)))
        count = min(max(wanted, FEWEST_TURNS * turn), images // batch_size)
        found.append(Training(recipe, batch_size, turn, count, relative))
    return found


def training_steps(
    data: ImageDataModule, planned: list[Training], fit_options: list[str], device: torch.device, workers: int,
    options: argparse.Namespace,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """`fit` compared with a bare loop, in turns with the ancestor's training at 224×224."""
    train, found = data.sets["train"], {}
    ancestor = steps.ancestor_training(train.files.folder, workers, device, len(data.classes.ids))
    ancestor_rates: list[float] = []
    cheaper = [] if device.type == "cuda" else ["--model.stem=imagenet"]
    for recipe, batch_size, turn, count, _ in planned:
        ancestor_rates += race({ANCESTOR: ancestor}, 1, options.seconds, ANCESTOR).get(ANCESTOR, [])
        torch.cuda.empty_cache()  # for the training, which is another process
        of_recipe = [f"--config={recipe}.yaml", f"--data.batch_size={batch_size}", *cheaper, *fit_options]
        name = f"{recipe}, batch {batch_size}"
        try:
            found[name] = steps.fit_beside_bare_loop(of_recipe, count, turn)
        except RuntimeError as error:  # such as a GPU with too little memory
            found[name] = {"failed": str(error).strip().splitlines()[-1]}
    if ancestor_rates:
        found[ANCESTOR] = {"images_per_s": statistics.median(ancestor_rates)}
    return found


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

    def packed(batch_size: int = BATCH, **others: int) -> pipelines.Contestant:
        return pipelines.packed(data, pipelines.OURS["crop + flip"], batch_size, device, **others)

    lines = {
        "batch size": {str(n): packed(n) for n in (32, 64, 128, 256, 512, 1024)},
        "image size (pixels)": {str(n): packed(size=n) for n in (32, 48, 64, 96, 128)},
        "worker processes": {str(n): packed(workers=n) for n in (0, 1, 2, 4)},
    }
    return {
        quantity: {
            value: statistics.median(rates)
            for value, rates in race(line, options.rounds, options.seconds, quantity).items()
        }
        for quantity, line in lines.items()
    }
