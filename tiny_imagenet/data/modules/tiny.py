"""Tiny ImageNet: 200 classes of 64×64 images, 500 training and 50 validation images each (Le and Yang 2015)."""

from functools import cached_property
from pathlib import Path
from typing import Any

from tiny_imagenet.data.archive import extracted, locked
from tiny_imagenet.data.layout import (
    Classes,
    ImageFiles,
    check_counts,
    read_classes,
    restructure_validation,
    scan_classes,
    scan_flat,
)
from tiny_imagenet.data.modules.base import ImageDataModule
from tiny_imagenet.data.packed import PackedImages, pack

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
# The same bytes, by the same MD5, in a GitHub release.
MIRROR = (
    "https://github.com/tjmoon0104/pytorch-tiny-imagenet/releases/download/tiny-imagenet-dataset/tiny-imagenet-200.zip"
)
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
NATIVE_SIZE = 64  # pixels


class TinyImageNetDataModule(ImageDataModule):
    """Tiny ImageNet, or any archive or folder in its layout. The options are those of `ImageDataModule`.

    The official test images have no labels: with a `holdout`, the 10,000 official validation images are the test set,
    and `predict` reads the official test images.
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

    def all_classes(self) -> Classes:
        return self._all_classes

    def packed(self, split: str) -> PackedImages:
        with locked(self.root):
            return pack(self.files(split), NATIVE_SIZE, self.folder / "packed" / split)

    def files(self, split: str) -> ImageFiles:
        """The image files of a split, their number checked against what the archive promises."""
        if split == "test":
            return scan_flat(self.folder / "test" / "images")
        files = scan_classes(self.folder / split, self._all_classes.ids)
        check_counts(files, split)
        return files

    @cached_property
    def folder(self) -> Path:
        """The folder of train/, val/ and test/, downloaded, extracted and restructured as far as it was not yet."""
        with locked(self.root):
            folder = self.root if self.archive is None else extracted(self._sources, self.md5, self.root)
            restructure_validation(folder)
        return folder

    @cached_property
    def _all_classes(self) -> Classes:
        return read_classes(self.folder)

    @property
    def _sources(self) -> list[str]:
        return [URL, MIRROR] if self.archive == URL else [self.archive]
