"""From a URL or a folder to batches on the device."""

from tiny_imagenet.data.info import DatasetInfo, require_same_classes
from tiny_imagenet.data.sets import (
    CIFAR10DataModule,
    ImageDataModule,
    ImageFolderDataModule,
    SyntheticDataModule,
    TinyImageNetDataModule,
)

__all__ = [
    "CIFAR10DataModule", "DatasetInfo", "ImageDataModule", "ImageFolderDataModule", "SyntheticDataModule",
    "TinyImageNetDataModule", "require_same_classes",
]  # fmt: skip
