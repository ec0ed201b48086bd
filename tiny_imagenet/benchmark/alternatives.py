"""Pipelines and trainings of other packages, where these are installed."""

import re
import sys
from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.datasets import ImageFolder

from tiny_imagenet import hardware
from tiny_imagenet.benchmark.callbacks import DTYPES
from tiny_imagenet.benchmark.pipelines import PREFETCH, endless
from tiny_imagenet.benchmark.timing import Contestant
from tiny_imagenet.data import ImageDataModule

FFCV_IMAGES = 25_600  # that are written to FFCV's file, 300 MiB
FFCV_AHEAD = 3  # batches that FFCV's thread prepares

PACKAGES = ("ffcv", "nvidia-dali", "kornia", "timm")
TIMM = "timm's loader and loop"


@cache
def installed() -> dict[str, str]:
    """The versions of the packages that are installed, by name; DALI's names end in that of a CUDA version."""
    names = {each.name.lower().replace("_", "-"): each.version for each in distributions()}
    found = {re.sub(r"-cuda\d+$", "", name): version for name, version in names.items()}
    return {package: found[package] for package in PACKAGES if package in found}


def not_installed() -> str:
    """The names of the packages that are not installed; empty if all are."""
    return ", ".join(package for package in PACKAGES if package not in installed())


def pipelines(
    data: ImageDataModule, batch_size: int, workers: int, device: torch.device, folder: Path
) -> dict[str, Contestant]:
    """Crop and flip to normalised batches by the packages that are installed.

    Args:
        workers: threads of each.
        folder: for files that a package reads; they must stay while it is in a race.
    """
    makers = {
        "FFCV, from its own file": ("ffcv", partial(_ffcv, data, batch_size, workers, device, folder)),
        "DALI, from packed images": ("nvidia-dali", partial(_dali, data, batch_size, workers, device)),
        "kornia, batch already on the device": ("kornia", partial(_kornia, data, batch_size, device)),
    }
    return _made({name: make for name, (package, make) in makers.items() if package in installed()})


def trainings(data: ImageDataModule, batch_size: int, workers: int, device: torch.device) -> dict[str, Contestant]:
    """Training steps of ResNet-18, from image files, by the packages that are installed."""
    return _made({TIMM: partial(_timm, data, batch_size, workers, device)} if "timm" in installed() else {})


def _made(makers: dict[str, Callable[[], Contestant]]) -> dict[str, Contestant]:
    made = {}
    for name, make in makers.items():
        try:
            made[name] = make()
        except Exception as error:  # such as a package that was built for another version of torch
            print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)
    return made


def _ffcv(data: ImageDataModule, batch_size: int, workers: int, device: torch.device, folder: Path) -> Contestant:
    """https://docs.ffcv.io/making_dataloaders.html, with uncompressed images as FFCV advises for small ones."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, RandomTranslate, ToTensor, ToTorchImage
    from ffcv.writer import DatasetWriter

    images, path = data.sets["train"], str(folder / "images.beton")
    rows, labels = images.rows[:FFCV_IMAGES], images.labels[:FFCV_IMAGES]
    writer = DatasetWriter(path, {"image": RGBImageField(write_mode="raw"), "label": IntField()}, num_workers=workers)
    writer.from_indexed_dataset(list(zip(images.images[rows], labels.tolist(), strict=True)))
    mean, std = (255 * np.array(figure) for figure in (data.info.mean, data.info.std))
    of_image = [
        SimpleRGBImageDecoder(), RandomHorizontalFlip(), RandomTranslate(data.pipeline.image_size // 8),
        NormalizeImage(mean, std, np.float32), ToTensor(), ToTorchImage(),
    ]  # fmt: skip
    loader = Loader(
        path, batch_size, num_workers=workers, os_cache=True, order=OrderOption.RANDOM, drop_last=True,
        batches_ahead=FFCV_AHEAD, pipelines={"image": of_image, "label": [IntDecoder(), ToTensor()]},
    )  # fmt: skip
    batches = endless(loader)
    return Contestant(lambda: len(next(batches)[0].to(device)), untimed=1 + FFCV_AHEAD, ahead=FFCV_AHEAD)


def _dali(data: ImageDataModule, batch_size: int, workers: int, device: torch.device) -> Contestant:
    """DALI's operators for the CPU, on batches that are read from the packed images."""
    from nvidia.dali import fn, pipeline_def, types
    from nvidia.dali.plugin.pytorch import DALIGenericIterator

    images, generator = data.sets["train"], np.random.default_rng(0)
    size, mean, std = data.pipeline.image_size, data.info.mean, data.info.std

    def read() -> tuple[np.ndarray, np.ndarray]:
        rows = generator.integers(len(images), size=batch_size)
        return images.images[images.rows[rows]], images.labels[rows]

    @pipeline_def(batch_size=batch_size, num_threads=workers, device_id=None, prefetch_queue_depth=PREFETCH)
    def pipeline() -> tuple:
        pixels, labels = fn.external_source(read, num_outputs=2, layout=["HWC", ""])
        start = fn.random.uniform(range=(-size // 8, size // 8), shape=2, dtype=types.INT32)
        crops = fn.slice(pixels, start=start, shape=(size, size), axis_names="HW", out_of_bounds_policy="pad")
        mirror = fn.random.coin_flip()
        scaled = {"mean": [255 * value for value in mean], "std": [255 * value for value in std]}
        return fn.crop_mirror_normalize(crops, mirror=mirror, **scaled), labels

    batches = DALIGenericIterator(pipeline(), ["images", "labels"])
    return Contestant(lambda: len(next(batches)[0]["images"].to(device)), untimed=1 + PREFETCH, ahead=PREFETCH)


def _kornia(data: ImageDataModule, batch_size: int, device: torch.device) -> Contestant:
    from kornia.augmentation import AugmentationSequential, Normalize, RandomCrop, RandomHorizontalFlip

    size = data.pipeline.image_size
    transform = AugmentationSequential(
        RandomCrop((size, size), padding=size // 8), RandomHorizontalFlip(p=0.5),
        Normalize(data.info.mean, data.info.std),
    )  # fmt: skip
    images = data.sets["train"][range(batch_size)][0].to(device)
    return Contestant(lambda: len(transform(images.float() / 255)))


def _timm(data: ImageDataModule, batch_size: int, workers: int, device: torch.device) -> Contestant:
    """Steps as in timm's train.py, which is not part of the package, with `--channels-last --amp` and SGD.

    Its own random resized crop, flip and colour jitter of each image, in worker processes. The network, batch size and
    precision are those of a bare step, see `choices`.
    """
    from timm.data import create_loader
    from timm.models import create_model
    from timm.optim import create_optimizer_v2

    precision = str(hardware.set_up(device.type, None, single_pixels=False))
    network = create_model("resnet18", num_classes=200)
    if device.type == "cuda":  # the small stem
        network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    network.to(device, memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(network, opt="sgd", lr=0.1, momentum=0.9, weight_decay=5e-4)
    loss_function = nn.CrossEntropyLoss()
    loader = create_loader(
        ImageFolder(str(data.sets["train"].files.folder)), (3, data.pipeline.image_size, data.pipeline.image_size),
        batch_size, is_training=True, color_jitter=0.1, mean=data.info.mean, std=data.info.std, num_workers=workers,
        pin_memory=device.type == "cuda", device=device, persistent_workers=workers > 0,
    )  # fmt: skip
    batches = endless(loader)

    def step() -> int:
        images, targets = next(batches)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, DTYPES.get(precision), enabled=precision in DTYPES):
            loss = loss_function(network(images), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return len(images)

    return Contestant(step, untimed=2 + workers * PREFETCH, ahead=workers * PREFETCH)
