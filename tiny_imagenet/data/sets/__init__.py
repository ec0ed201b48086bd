"""The LightningDataModules, one data set per file."""

from tiny_imagenet.data.sets.base import ImageDataModule
from tiny_imagenet.data.sets.cifar10 import CIFAR10DataModule
from tiny_imagenet.data.sets.image_folder import ImageFolderDataModule
from tiny_imagenet.data.sets.synthetic import SyntheticDataModule
from tiny_imagenet.data.sets.tiny_imagenet import TinyImageNetDataModule

__all__ = [
    "CIFAR10DataModule", "ImageDataModule", "ImageFolderDataModule", "SyntheticDataModule", "TinyImageNetDataModule",
]  # fmt: skip
