"""Input pipelines, from stored images to what a network sees: this project's and common alternatives."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from tiny_imagenet.benchmark.timing import Contestant
from tiny_imagenet.data import ImageDataModule
from tiny_imagenet.data.augment import (
    Augmentation,
    ColorJitter,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    TrivialAugmentWide,
    augment,
)
from tiny_imagenet.data.augment.base import to_device
from tiny_imagenet.data.batches.loader import Batch, batch_loader
from tiny_imagenet.data.batches.mix import Mix
from tiny_imagenet.data.batches.pipeline import BatchPipeline
from tiny_imagenet.data.batches.sampler import TrainBatches

PREFETCH = 2  # batches that each worker process keeps ready, DataLoader's default
JITTER = {"brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "hue": 0.1}

# Recipes as this project's augmentations of whole batches; `torchvision_transforms` has the same for single images.
OURS: dict[str, list[Augmentation]] = {
    "crop + flip": [RandomCrop(padding=8), RandomHorizontalFlip()],
    "crop + flip + jitter": [RandomCrop(padding=8), RandomHorizontalFlip(), ColorJitter(**JITTER)],
    "TrivialAugment + crop + flip + erasing": [
        TrivialAugmentWide(), RandomCrop(padding=8), RandomHorizontalFlip(), RandomErasing(p=0.1),
    ],
    "records/tiny_resnet18_long": [
        RandomCrop(padding=8, padding_mode="reflect"), RandomHorizontalFlip(),
        TrivialAugmentWide(), RandomErasing(p=0.1),
    ],
}  # fmt: skip
MIXES = {"records/tiny_resnet18_long": Mix(mixup=0.2, cutmix=1.0, probability=0.5)}  # not applied with torchvision


def torchvision_transforms(recipe: str, size: int, mean: Sequence[float], std: Sequence[float]) -> v2.Compose:
    """A recipe of OURS as transforms of a PIL image."""
    crop = [v2.RandomCrop(size, padding=size // 8), v2.RandomHorizontalFlip()]
    as_tensor = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
    return v2.Compose(
        {
            "crop + flip": [*crop, *as_tensor],
            "crop + flip + jitter": [*crop, v2.ColorJitter(**JITTER), *as_tensor],
            "TrivialAugment + crop + flip + erasing": [
                v2.TrivialAugmentWide(), *crop, *as_tensor, v2.RandomErasing(p=0.1),
            ],
            "records/tiny_resnet18_long": [
                v2.RandomCrop(size, padding=size // 8, padding_mode="reflect"), v2.RandomHorizontalFlip(),
                v2.TrivialAugmentWide(), *as_tensor, v2.RandomErasing(p=0.1),
            ],
        }[recipe]
    )  # fmt: skip


def ancestor_transforms() -> v2.Compose:
    """The transforms of the script that this project is derived from, which trains at 224×224."""
    return v2.Compose(
        [
            v2.Resize(250), v2.RandomCrop(224), v2.RandomHorizontalFlip(0.2), v2.ColorJitter(**JITTER),
            v2.ToImage(), v2.ToDtype(torch.float32, scale=True),
        ]
    )  # fmt: skip


def packed(
    data: ImageDataModule, augmentations: list[Augmentation], batch_size: int, device: torch.device,
    workers: int = 0, size: int | None = None, pinned: bool = True, mix: Mix | None = None,
) -> Contestant:  # fmt: skip
    """Batches of packed images, augmented and normalised on the device, which a GPU reads from pinned memory."""
    images = data.sets["train"]
    sampler = TrainBatches(len(images), batch_size, 0, lambda: (0, 0))
    batches = endless(batch_loader(images, sampler, workers, pinned and device.type == "cuda"))
    pipeline = BatchPipeline(size or data.pipeline.image_size, None, augmentations, mix)
    mean, std = (torch.tensor(figure, device=device) for figure in (data.info.mean, data.info.std))

    def step() -> int:
        batch = next(batches)
        images, targets = (tensor.to(device, non_blocking=True) for tensor in (batch.images, batch.targets))
        return len(
            pipeline.train(batch._replace(images=images, targets=targets), mean, std, len(data.classes.ids), 0, None)[0]
        )

    return Contestant(step, untimed=1 + workers * PREFETCH, ahead=workers * PREFETCH)


def on_the_device(
    data: ImageDataModule, augmentations: list[Augmentation], batch_size: int, device: torch.device
) -> Contestant:
    """The same with all images on the device from the start."""
    images, labels = data.sets["train"], torch.from_numpy(data.sets["train"].labels).to(device)
    every = torch.from_numpy(images.images[images.rows]).to(device)
    requests = endless(TrainBatches(len(images), batch_size, 0, lambda: (0, 0)))
    pipeline = BatchPipeline(data.pipeline.image_size, None, augmentations, None)
    mean, std = (torch.tensor(figure, device=device) for figure in (data.info.mean, data.info.std))

    def step() -> int:
        request = next(requests)
        rows = to_device(torch.from_numpy(request.rows), device)
        images = every.index_select(0, rows).permute(0, 3, 1, 2)
        batch = Batch(images, labels.index_select(0, rows), rows, request.seed)
        return len(pipeline.train(batch, mean, std, len(data.classes.ids), 0, None)[0])

    return Contestant(step)


def reading(data: ImageDataModule, batch_size: int) -> Contestant:
    """Only read batches of packed images."""
    images = data.sets["train"]
    batches = endless(batch_loader(images, TrainBatches(len(images), batch_size, 0, lambda: (0, 0))))
    return Contestant(lambda: len(next(batches).images))


def one_augmentation(
    data: ImageDataModule, augmentation: Augmentation, batch_size: int, device: torch.device
) -> Contestant:
    """One augmentation and the normalisation of a batch that is already on the device."""
    images = data.sets["train"][range(batch_size)][0].to(device)
    mean, std = (torch.tensor(figure, device=device) for figure in (data.info.mean, data.info.std))
    return Contestant(lambda: len(augment(images, [augmentation], mean, std)))


def image_files(
    folder: Path, transform: Callable[..., Any], batch_size: int, workers: int, device: torch.device
) -> tuple[Contestant, Iterator[tuple[Tensor, Tensor]]]:
    """torchvision's ImageFolder with a transform for each image and worker processes. Also returns the batches."""
    loader = DataLoader(
        ImageFolder(str(folder), transform), batch_size, shuffle=True, num_workers=workers, drop_last=True,
        pin_memory=device.type == "cuda", persistent_workers=workers > 0,
    )  # fmt: skip
    batches = endless(loader)

    def step() -> int:
        return len(next(batches)[0].to(device, non_blocking=True))

    return Contestant(step, untimed=1 + workers * PREFETCH, ahead=workers * PREFETCH), batches


def endless(epoch: Iterable) -> Iterator[Any]:
    """The batches of one epoch after another."""
    while True:
        yield from epoch
