"""How long each part of the benchmark will take, from a few seconds of measuring."""

import argparse
import time
from dataclasses import dataclass

import torch

from tiny_imagenet.benchmark import choices, pipelines, stages, steps
from tiny_imagenet.benchmark.timing import synchronize
from tiny_imagenet.data import ImageDataModule

COMPILING = 45  # seconds of torch.compile on two cores
ANCESTOR_IMAGE = 8  # the ancestor's transforms of an image take as long as this many of torchvision's crops and flips
ANCESTOR_STEP = 8  # half a batch, at 224 pixels and in float32
CURVES = 15  # contestants in the figure of the benchmark
PARTS = 7  # contestants that are parts of a pipeline


@dataclass(frozen=True)
class Costs:
    """Seconds of what the parts do most.

    Args:
        step: a training step of ResNet-18 on stages.BATCH images, as `choices` has it.
        imports: `import lightning.pytorch.cli` in a new process.
        image: one process opens an image file, crops and flips it.
    """

    step: float
    imports: float
    image: float


def measured_costs(data: ImageDataModule, device: torch.device) -> Costs:
    """Measure each cost once, after a first time that does not count."""
    step = choices.contestants(device, stages.BATCH)[choices.DEFAULT].step
    folder = data.sets["train"].files.folder
    transform = pipelines.torchvision_transforms("crop + flip", data.pipeline.image_size, data.info.mean, data.info.std)
    batch = min(stages.BATCH, len(data.sets["train"]))
    read = pipelines.image_files(folder, transform, batch, 0, device)[0].step
    return Costs(_seconds(step), steps.import_seconds(), _seconds(read) / batch)


def part_seconds(
    costs: Costs, planned: list[stages.Training], device: torch.device, workers: int, options: argparse.Namespace
) -> dict[str, float]:
    """Seconds of each part of the benchmark, by its name."""
    rounds, turn = options.rounds, options.seconds
    prepared = stages.BATCH * (1 + 2 * pipelines.PREFETCH * workers) * costs.image / max(workers, 1)
    recipes = len(pipelines.OURS)
    start = 3 * costs.imports  # until a training's first step
    variants = 7 if device.type == "cuda" else 5
    ancestor = turn + (2 + 2 * pipelines.PREFETCH * workers) * ANCESTOR_IMAGE * 64 * costs.image / max(workers, 1)
    return {
        "memory": costs.imports * (1 + 4 / max(workers, 1)),
        "images": rounds * ((PARTS + 2 * recipes + 1) * turn + (recipes + ANCESTOR_IMAGE) * prepared) + 5,
        "training": sum(start + 2.2 * each.steps * each.relative * costs.step for each in planned)
        + len(planned) * (ancestor + (2 + workers * pipelines.PREFETCH) * ANCESTOR_STEP * costs.step),
        "choices": rounds * variants * (max(turn, costs.step) + 2 * costs.step) + COMPILING,
        "saving": 2.0 * rounds,
        "start": rounds * (start + costs.imports),
        "curves": rounds * CURVES * turn * 1.2,
    }


def _seconds(step) -> float:
    step()
    synchronize()
    start = time.perf_counter()
    step()
    synchronize()
    return time.perf_counter() - start
