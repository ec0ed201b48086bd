"""Training ResNets on small images: Tiny ImageNet, CIFAR-10 and any folder of class folders."""

import importlib
from typing import Any

# Where the public names are; each is imported when it is first used, since torch takes seconds.
_MODULES = {
    "ImageClassifier": "tiny_imagenet.classifier",
    **dict.fromkeys(
        ("CIFAR10DataModule", "ImageFolderDataModule", "SyntheticDataModule", "TinyImageNetDataModule"),
        "tiny_imagenet.data",
    ),
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
