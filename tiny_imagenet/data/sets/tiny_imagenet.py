"""Tiny ImageNet: 200 classes of 64×64 images, 500 training and 50 validation images each (Le and Yang 2015)."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tiny_imagenet.data.fetch.archive import locked
from tiny_imagenet.data.fetch.download import LARGEST
from tiny_imagenet.data.images.decode import shorter_side
from tiny_imagenet.data.images.packed import PackedImages, pack
from tiny_imagenet.data.images.scan import ImageFiles, scan_classes, scan_flat
from tiny_imagenet.data.sets.base import ImageDataModule
from tiny_imagenet.data.sets.parquet import parquet_files, unpack_parquet
from tiny_imagenet.data.sets.split import cache_name
from tiny_imagenet.data.sets.tiny_imagenet_layout import (
    CLASS_IDS,
    Classes,
    check_counts,
    layout_in,
    read_classes,
    restructure_validation,
)

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
# A GitHub release with the same bytes and so the same MD5.
MIRROR = (
    "https://github.com/tjmoon0104/pytorch-tiny-imagenet/releases/download/tiny-imagenet-dataset/tiny-imagenet-200.zip"
)
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
MOST_BYTES = 250_000_000  # of the archive of this MD5; it has 248 MB
NATIVE_SIZE = 64  # pixels


class TinyImageNetDataModule(ImageDataModule):
    """Tiny ImageNet, or any archive or folder in its layout. For the options, see `ImageDataModule`.

    The official test images have no labels; `predict` reads them. So the official validation images are the test set,
    and validation images are held out of the training images, by default a tenth: 10,000 of the official ones. Images
    are packed at their own 64×64 pixels; larger ones, of another data set, at the size that the pipeline resizes to.
    """

    def __init__(
        self,
        root: str = "data",
        archive: str | None = URL,
        md5: str | None = MD5,
        image_size: int = NATIVE_SIZE,
        holdout: int | float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, archive=archive, md5=md5, image_size=image_size, holdout=holdout, **kwargs)

    @property
    def test_split(self) -> str:
        return "val"

    def unlabelled_images(self) -> PackedImages:
        images = self.packed("test")
        return images.select(np.arange(len(images)), np.arange(len(images)))

    def all_classes(self) -> Classes:
        return self._all_classes

    def packed(self, split: str) -> PackedImages:
        with locked(self.root):
            some, folder = self._some_classes if split != "test" else None, self._folder / "packed"
            files = self._files(split, some)
            larger = shorter_side(files.folder / files.names[0]) > NATIVE_SIZE
            side = max(NATIVE_SIZE, self.pipeline.side) if larger else NATIVE_SIZE
            name, only_some = cache_name(split if side == NATIVE_SIZE else f"{split}-{side}", folder, some)
            if some and not only_some:
                files = self._files(split, None)
            return pack(files, side, folder / name, on_bad_images=self.on_bad_images)

    def _files(self, split: str, some: Classes | None) -> ImageFiles:
        """The files of a split: of some classes, or of all that there should be."""
        folder = self._folder / split
        classes = some or self._all_classes
        files = scan_flat(folder / "images") if split == "test" else scan_classes(folder, classes.ids)
        check_counts(files, split, official=self.md5 == MD5 and some is None)
        return files

    @cached_property
    def _all_classes(self) -> Classes:
        return read_classes(self._folder)

    @cached_property
    def _folder(self) -> Path:
        """The folder of train/, val/ and test/; downloads, extracts and restructures what is missing."""
        folder = self._extracted(MOST_BYTES if self.md5 == MD5 else LARGEST)
        with locked(self.root):
            if not (folder / CLASS_IDS).exists():
                folder = unpack_parquet(folder) if parquet_files(folder) else layout_in(folder)
            restructure_validation(folder)
        return folder

    def _sources(self) -> list[str]:
        return [URL, MIRROR] if self.archive == URL else super()._sources()
