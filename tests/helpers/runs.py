"""Run folders like those of training and testing, written without training."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from tiny_imagenet.files import replace_csv
from tiny_imagenet.run.history import History
from tiny_imagenet.run.result_tables import (
    CONFUSION_COLUMNS,
    PER_CLASS_COLUMNS,
    confusion_cells,
    confusion_counts,
    per_class,
)

SGD = {
    "class_path": "torch.optim.SGD",
    "init_args": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.0005},
}
ADAM = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.001, "betas": [0.9, 0.999], "eps": 1e-08}}
LOOKAHEAD = {"class_path": "tiny_imagenet.optim.Lookahead", "init_args": {"optimizer": ADAM, "k": 5, "alpha": 0.5}}
AUGMENT = [
    {"class_path": "tiny_imagenet.data.augment.RandomCrop", "init_args": {"padding": 8}},
    {"class_path": "tiny_imagenet.data.augment.RandomHorizontalFlip", "init_args": {"p": 0.5}},
]
CLASS_IDS = ["n01443537", "n02123045", "n02123394", "n02124075"]
CLASS_NAMES = ["goldfish, Carassius auratus", "tabby, tabby cat", "Persian cat", "Egyptian cat"]


def write_run(
    folder: Path,
    *,
    model: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    trainer: Mapping[str, Any] | None = None,
    epochs: int = 5,
    done: int | None = None,
    top1: float = 0.5,
    seconds: float = 60.0,
    tested: bool = False,
    seed: int = 42,
) -> Path:
    """A run with `done` of `epochs` epochs, whose val/top1 rises linearly, to `top1` in the last of `epochs`.

    `model`, `data` and `trainer` replace options of the config. A tested run has a test top-1 of `top1` - 0.01, and the
    files of `write_test` for answers chosen by hand.
    """
    config = {
        "seed_everything": seed,
        "trainer": {"accelerator": "auto", "devices": "auto", "precision": "32-true", "max_epochs": epochs,
                    "accumulate_grad_batches": 1, "log_every_n_steps": 50, "callbacks": None, **(trainer or {})},
        "model": {"arch": "resnet18", "weights": None, "stem": "small", "width": 1.0, "blocks": None, "freeze": [],
                  "optimizer": SGD, "scheduler": {"class_path": "tiny_imagenet.optim.WarmupCosine",
                  "init_args": {"warmup": 0.05}}, "scheduler_interval": "step", **(model or {})},
        "data": {"class_path": "tiny_imagenet.data.TinyImageNetDataModule",
                 "init_args": {"root": "data", "md5": "0", "image_size": 64, "batch_size": 128, "holdout": 10000,
                               "classes": None, "resize": None, "augment": [], "mix": None, "num_workers": 0,
                               **(data or {})}},
        "checkpoint": {"every_n_steps": None, "every_minutes": 10, "monitor": "val/top1", "mode": "max"},
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    History([_row(epoch, epochs, top1, seconds) for epoch in range(epochs if done is None else done)]).write(
        folder / "metrics.csv"
    )
    if tested:
        # Predictions: 4 of 4 goldfish correct; of 4 tabbies 1 correct, 2 as Persian, 1 as Egyptian; of 4 Persian cats
        # 2 correct, 2 as tabby; of 2 Egyptian cats 1 correct, 1 as Persian.
        targets = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3])
        best = np.array([0, 0, 0, 0, 1, 2, 2, 3, 2, 2, 1, 1, 3, 2])
        write_test(folder, top1 - 0.01, targets, np.stack([best, (best + 1) % 4], axis=1), CLASS_IDS, CLASS_NAMES)
    return folder


def write_test(
    folder: Path, top1: float, targets: np.ndarray, answers: np.ndarray, ids: Sequence[str], names: Sequence[str]
) -> None:
    """Write the four files of a test, for labels [N] and ranked answers [N, K]."""
    metrics = {"top1": top1, "top5": top1 + 0.2, "loss": 1.5, "images": len(targets)}
    (folder / "test_metrics.json").write_text(json.dumps(metrics))
    replace_csv(folder / "per_class.csv", PER_CLASS_COLUMNS, per_class(targets, answers, ids, names))
    cells = confusion_cells(confusion_counts(targets, answers[:, 0], len(ids)), ids, names)
    replace_csv(folder / "confusion.csv", CONFUSION_COLUMNS, cells)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((600, 900), Image.Resampling.NEAREST).save(folder / "examples.png")


def write_condition_numbers(folder: Path, epochs: int, layers: int = 4, first: float = 10.0) -> None:
    """Write condition numbers: layer i (from 0) has `first` * 2**i at epoch 0, times 1.5 per epoch."""
    rows = [
        {"epoch": epoch, "layer": f"layer{layer}.conv", "condition_number": first * 2**layer * 1.5**epoch}
        for epoch in range(epochs)
        for layer in range(layers)
    ]
    replace_csv(folder / "condition_numbers.csv", ["epoch", "layer", "condition_number"], rows)


def write_studies(root: Path) -> None:
    """Write runs of all studies, and three runs that cannot be read."""
    for place, arch in enumerate(("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")):
        top1 = 0.44 + 0.01 * place
        write_run(root / f"{arch}_baseline/version_0", model={"arch": arch}, top1=top1, tested=place < 3)
        augmented = {"model": {"arch": arch}, "data": {"augment": AUGMENT}}
        write_run(root / f"{arch}_aug/version_0", **augmented, top1=top1 + 0.08, tested=place < 2)
    for trial, size in enumerate((64, 256, 512, 1024, 4096)):
        folder = root / f"batch_size/trial_{trial:03}/version_0"
        data, trainer = {"batch_size": min(size, 1024), "classes": 10}, {"accumulate_grad_batches": -(-size // 1024)}
        write_run(folder, data=data, trainer=trainer, epochs=6, top1=0.6 - 0.05 * trial, seconds=100 / (trial + 1))
        write_condition_numbers(folder, 6, first=10.0 + 5 * trial)
    for trial, lr in enumerate((1e-4, 3e-4, 1e-3, 3e-3, 1e-2)):
        optimizer = {"class_path": "torch.optim.Adam", "init_args": {**ADAM["init_args"], "lr": lr}}
        write_run(
            root / f"learning_rate/trial_{trial:03}/version_0",
            model={"optimizer": optimizer, "stem": "imagenet"},
            top1=0.5 - 0.1 * abs(math.log10(lr) + 3),
        )
    plain = {"class_path": "torch.optim.SGD", "init_args": {**SGD["init_args"], "momentum": 0.0, "nesterov": False}}
    for trial, optimizer in enumerate((SGD, plain, ADAM, LOOKAHEAD)):
        write_run(
            root / f"optimizers/trial_{trial:03}/version_0",
            model={"optimizer": optimizer, "width": 0.5},
            top1=0.5 + 0.02 * trial,
        )
    write_run(root / "resnet18_scratch/version_0", model={"scheduler": None, "stem": "imagenet"}, epochs=30, done=12)
    write_run(root / "resnet50_transfer/version_0", model={"arch": "resnet50", "freeze": ["conv1"]}, epochs=30, done=29)
    write_run(root / "not_begun/version_0", done=0)
    (write_run(root / "killed/version_0") / "metrics.csv").unlink()
    (write_run(root / "broken/version_0") / "config.yaml").write_text("model: {arch: [resnet18")


def with_optimizer(optimizer: Mapping[str, Any], **arguments: float) -> dict[str, Any]:
    """Model options with this optimizer and other arguments."""
    return {"optimizer": {**optimizer, "init_args": {**optimizer["init_args"], **arguments}}}


def only(found: Sequence[Any]) -> Any:
    """The only element of a sequence."""
    assert len(found) == 1
    return found[0]


def _row(epoch: int, epochs: int, top1: float, seconds: float) -> dict[str, float]:
    progress = (epoch + 1) / epochs
    return {
        "epoch": epoch,
        "step": 700 * (epoch + 1),
        "train/loss": 5.3 * (1 - 0.8 * progress),
        "train/top1": min(1.0, 1.5 * top1 * progress**1.2),
        "val/loss": 5.3 * (1 - top1 * progress),
        "val/top1": top1 * progress,
        "val/top5": min(1.0, (top1 + 0.25) * progress),
        "lr": 0.1 * (1 - progress) + 1e-5,
        "seconds": seconds + (20.0 if epoch == 0 else 0.0),
        "images_per_s": 90_000 / seconds,
        "memory": 2048.0,
    }
