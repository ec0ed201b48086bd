"""Networks that are small enough to try every option on."""

from collections.abc import Sequence

import torch
from torch import nn

from tiny_imagenet.classifier import ImageClassifier
from tiny_imagenet.data import DatasetInfo
from tiny_imagenet.models import ResNet, build_resnet


def small(arch: str = "resnet18", classes: int = 5, **options) -> ResNet:
    return build_resnet(arch, classes, **{"width": 0.125, **options})


def classifier(
    names: Sequence[str] = ("cat", "dog", "fox"), image_size: int = 32, logits: float = 2.0, **options
) -> ImageClassifier:
    """A classifier of random weights, in evaluation mode, with classes of these names and ids c0, c1, …

    Args:
        logits: their spread over random images, so that its answers vary.
        options: of ImageClassifier.
    """
    torch.manual_seed(0)
    model = ImageClassifier(**{"width": 0.125, "stem": "imagenet", **options})
    ids = tuple(f"c{number}" for number in range(len(names)))
    model._build(DatasetInfo(ids, tuple(names), image_size, (0.48, 0.45, 0.4), (0.28, 0.27, 0.26)), None)
    with torch.no_grad():
        for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.momentum = None  # the mean over all batches
        model.train()(images := torch.randn(64, 3, image_size, image_size))
        found, fc = model.eval()(images), model.network.fc
        fc.weight *= logits / found.std(dim=0)[:, None]
        fc.bias.zero_()
        fc.bias -= model(images).mean(dim=0)
    return model
