"""The LightningDataModules, one kind of data set a file."""

from tiny_imagenet.data.modules.base import ImageDataModule
from tiny_imagenet.data.modules.cifar import CIFAR10DataModule
from tiny_imagenet.data.modules.folder import ImageFolderDataModule
from tiny_imagenet.data.modules.synthetic import SyntheticDataModule
from tiny_imagenet.data.modules.tiny import TinyImageNetDataModule

__all__ = [
    "CIFAR10DataModule", "ImageDataModule", "ImageFolderDataModule", "SyntheticDataModule", "TinyImageNetDataModule",
]  # fmt: skip
