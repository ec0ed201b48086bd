"""torchvision's ResNets for small images, with random or given weights."""

from tiny_imagenet.models.resnet import (
    REDUCTION,
    Downsampling,
    ResNet,
    Stem,
    TooLarge,
    build_resnet,
    known_archs,
    require_known,
)
from tiny_imagenet.models.weights import WeightsReport, load_weights

__all__ = [
    "REDUCTION",
    "Downsampling",
    "ResNet",
    "Stem",
    "TooLarge",
    "WeightsReport",
    "build_resnet",
    "known_archs",
    "load_weights",
    "require_known",
]
