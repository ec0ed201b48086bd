"""How long each part of the benchmark will take, from a few seconds of measuring."""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from tiny_imagenet.benchmark import alternatives, choices, pipelines, stages, steps
from tiny_imagenet.benchmark.timing import FILLING, synchronize
from tiny_imagenet.data import ImageDataModule

COMPILING = 45  # seconds of torch.compile on two cores
ANCESTOR_IMAGE = 8  # the ancestor's transforms of an image take as long as this many of torchvision's crops and flips
ANCESTOR_STEP = 8  # half a batch, at 224 pixels and in float32
TIMM_STEP = 1.5  # workers take cores from the network
FFCV = 20  # seconds in which its file is written and its code compiled
BESIDE = 2  # contestants beside a busy process
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

    @property
    def start(self) -> float:
        """Seconds until a training's first step."""
        return 3 * self.imports


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
    ahead = pipelines.PREFETCH * workers  # batches that worker processes prepare
    prepared = stages.BATCH * (1 + 2 * ahead) * costs.image / max(workers, 1)
    recipes, packages = len(pipelines.OURS), alternatives.installed()
    contestants = PARTS + 2 * recipes + BESIDE + 1 + len(packages.keys() - {"timm"})
    slowed = workers / max(workers - 1, 0.5)  # by a busy process
    others = [(costs.step, 1, 0), (ANCESTOR_STEP * costs.step, 1 + ahead, ahead)]
    others += [(TIMM_STEP * costs.step, 2 + ahead, ahead)] * ("timm" in packages)
    variants = 7 if device.type == "cuda" else 5
    return {
        "memory": costs.imports * (1 + 4 / max(workers, 1)),
        "images": rounds * (contestants * turn + (recipes + slowed + ANCESTOR_IMAGE) * prepared) + 5
        + FFCV * ("ffcv" in packages),
        "training": sum(fit_seconds(costs, each) * (slowed if each.busy else 1) for each in planned)
        + rounds * sum(_turn(turn, *other) for other in others),
        "choices": rounds * variants * _turn(turn, costs.step, 2, 0) + COMPILING,
        "saving": 2.0 * rounds,
        "start": rounds * (costs.start + costs.imports),
        "curves": rounds * CURVES * turn * 1.2,
    }  # fmt: skip


def fit_seconds(costs: Costs, training: stages.Training) -> float:
    """Seconds of a training beside a bare loop."""
    return costs.start + 2.2 * training.steps * training.relative * costs.step


def _turn(seconds: float, piece: float, untimed: int, ahead: int) -> float:
    """Seconds of a turn, with what is done before and after it; see `timing`."""
    return min(untimed * piece, FILLING + piece) + max(seconds, piece) + min(ahead * piece, FILLING)


def _seconds(step: Callable[[], int]) -> float:
    step()
    synchronize()
    start = time.perf_counter()
    step()
    synchronize()
    return time.perf_counter() - start
