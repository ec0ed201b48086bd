"""The data path: archive, class folders, packed images, batches, augmentation."""

from tiny_imagenet.data.info import DatasetInfo, require_same_classes
from tiny_imagenet.data.modules import ImageDataModule, SyntheticDataModule, TinyImageNetDataModule

__all__ = ["DatasetInfo", "ImageDataModule", "SyntheticDataModule", "TinyImageNetDataModule", "require_same_classes"]
