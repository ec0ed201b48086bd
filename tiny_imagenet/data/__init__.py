"""The data path: archive, class folders, packed images, batches, augmentation."""

from tiny_imagenet.data.info import DatasetInfo, require_same_classes
from tiny_imagenet.data.modules import ImageDataModule, TinyImageNetDataModule

__all__ = ["DatasetInfo", "ImageDataModule", "TinyImageNetDataModule", "require_same_classes"]
