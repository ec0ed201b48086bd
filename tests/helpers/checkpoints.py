"""Creates or changes checkpoints for a test."""

from dataclasses import asdict
from pathlib import Path

import torch

from tiny_imagenet.classifier import ImageClassifier


def write_empty(path: Path) -> Path:
    """A checkpoint with all parts of a training's, of a network with one weight, before its first step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    counts = ("ready", "started", "processed", "completed")
    loop = {
        name: {which: dict.fromkeys(counts, 0) for which in ("total", "current")}
        for name in ("epoch_progress", "epoch_loop.batch_progress")
    }
    content = {
        "pytorch-lightning_version": "2.6.1",
        "epoch": 0,
        "global_step": 0,
        "state_dict": {"weight": torch.ones(1)},
        "dataset": {"class_ids": ["a"], "class_names": ["a"], "image_size": 8, "mean": [0.5] * 3, "std": [0.5] * 3},
        "train_metrics": {},
        "callbacks": {},
        "loops": {"fit_loop": loop},
        "optimizer_states": [],
        "lr_schedulers": [],
    }
    torch.save(content, path)
    return path


def soften(checkpoint: Path) -> None:
    """Make a network less certain, so that its probabilities are not all 0 or 1.

    Its logits for images of random pixels, which are unlike the training images, then have a spread of about 1.
    """
    model = ImageClassifier.load_from_checkpoint(checkpoint).eval()
    pixels = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.info.mean, model.info.std))
    with torch.no_grad():
        spread = model((pixels - mean) / std).std(dim=1).mean()
    saved = torch.load(checkpoint, weights_only=True)
    for name in ("weight", "bias"):
        saved["state_dict"][f"network.fc.{name}"] /= spread
    torch.save(saved, checkpoint)


def save_alone(model: ImageClassifier, path: Path) -> Path:
    """A checkpoint of a classifier that belongs to no run."""
    write_empty(path)
    content = torch.load(path, weights_only=True)
    parts = {"state_dict": model.state_dict(), "dataset": asdict(model.info), "hyper_parameters": dict(model.hparams)}
    torch.save({**content, **parts}, path)
    return path
