"""CIFAR-10: 10 classes of 32×32 images, 5,000 training and 1,000 test images each (Krizhevsky 2009)."""

from functools import cached_property
from pathlib import Path
from typing import Any

from tiny_imagenet.data.fetch.archive import EXTRACT_AGAIN, locked
from tiny_imagenet.data.fetch.download import LARGEST
from tiny_imagenet.data.images.packed import PackedImages, pack
from tiny_imagenet.data.sets.base import ImageDataModule
from tiny_imagenet.data.sets.cifar_binary import SIZE, list_batches, read_class_names, scan_records, unpack_records
from tiny_imagenet.data.sets.cifar_python import META
from tiny_imagenet.data.sets.folder_content import holding
from tiny_imagenet.data.sets.tiny_imagenet_layout import Classes
from tiny_imagenet.errors import UserError

# From https://www.cs.toronto.edu/~kriz/cifar.html: the binary version, and the checksums of both.
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
PYTHON = "cifar-10-python.tar.gz"
PYTHON_MD5 = "c58f30108f718f92721af3b95e74349a"
MOST_BYTES = 180_000_000  # of either archive; they have 170 MB
OFFICIAL = {"train": 50_000, "test": 10_000}  # images


class CIFAR10DataModule(ImageDataModule):
    """CIFAR-10 from its binary or its Python archive, or a set like it. For the options, see `ImageDataModule`.

    `predict` reads the test images by default.
    """

    def __init__(
        self,
        root: str = "data",
        archive: str | None = URL,
        md5: str | None = MD5,
        image_size: int = SIZE,
        holdout: int | float = 0.1,
        **kwargs: Any,
    ) -> None:
        # Of the Python archive, too, the official one is expected.
        if md5 == MD5 and archive and archive.endswith(PYTHON):
            md5 = PYTHON_MD5
        super().__init__(root=root, archive=archive, md5=md5, image_size=image_size, holdout=holdout, **kwargs)

    def all_classes(self) -> Classes:
        return self._all_classes

    def packed(self, split: str) -> PackedImages:
        pattern = "test_batch" if split == "test" else "data_batch_*"
        batches = list_batches(self._folder, pattern)
        if not batches:
            raise UserError(
                f"{self._folder} has no {pattern}.bin and no {pattern}. It should have the files of CIFAR-10's binary "
                "version, or those of its Python version."
            )
        files = scan_records(self._folder, batches, self._all_classes.ids)
        if self.md5 in (MD5, PYTHON_MD5) and len(files) != OFFICIAL[split]:
            raise UserError(f"{self._folder} has {len(files):,} of {OFFICIAL[split]:,} {split} images. {EXTRACT_AGAIN}")
        with locked(self.root):
            return pack(files, SIZE, self._folder / "packed" / split, fill=unpack_records)

    @cached_property
    def _all_classes(self) -> Classes:
        return read_class_names(self._folder)

    @cached_property
    def _folder(self) -> Path:
        """The folder of the batch files, downloaded and extracted if it is missing."""
        largest = MOST_BYTES if self.md5 in (MD5, PYTHON_MD5) else LARGEST
        return holding(self._extracted(largest), "batches.meta.txt", META, "test_batch.bin")
