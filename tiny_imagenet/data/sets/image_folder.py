"""Any folder of class folders, with images of any size and kind."""

import logging
from functools import cached_property
from pathlib import Path
from typing import Any

from tiny_imagenet.data.fetch.archive import locked
from tiny_imagenet.data.images.packed import PackedImages, pack
from tiny_imagenet.data.sets.base import ImageDataModule
from tiny_imagenet.data.sets.folder_splits import Split, cache_folder, find_splits, scan_split
from tiny_imagenet.data.sets.split import cache_name
from tiny_imagenet.data.sets.tiny_imagenet_layout import Classes
from tiny_imagenet.errors import UserError

log = logging.getLogger(__name__)


class ImageFolderDataModule(ImageDataModule):
    """`root/{train,val,test}/<class>/…`, where val/ and test/ may be missing, or `root/<class>/…`; see `find_splits`.

    Packing crops each image to its central square and resizes it to `resize`, or else `image_size`. Without test/, val/
    is the test set; without either, the held-out images are.

    Args:
        archive: URL or path of a zip or tar archive of such a folder; null if `root` is one.
        holdout: null validates on val/ if it exists, and otherwise holds out a tenth.
        others: see `ImageDataModule`.
    """

    def __init__(
        self,
        root: str = "data",
        archive: str | None = None,
        md5: str | None = None,
        image_size: int = 64,
        holdout: int | float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, archive=archive, md5=md5, image_size=image_size, holdout=holdout, **kwargs)

    @property
    def test_split(self) -> str:
        return "test" if "test" in self._splits else "val"

    @property
    def val_split(self) -> str:
        return "val" if "val" in self._splits else "test"

    def train_and_val_images(self) -> tuple[PackedImages, PackedImages]:
        if self.holdout is None:
            self.holdout = 0 if "val" in self._splits else 0.1
        if not self.holdout and len(self._splits) == 1:
            raise UserError(
                f"holdout 0 leaves nothing to validate on: {self._folder} has neither val/ nor test/. Omit "
                "--data.holdout to hold out a tenth of the images."
            )
        train, val = super().train_and_val_images()
        if len(self._splits) == 1:
            log.info(
                f"{self._folder} has a single folder for each class: {len(val):,} of its "
                f"{len(train) + len(val):,} images are held out, for validation and test alike (--data.holdout)."
            )
        return train, val

    @property
    def validates_on_test(self) -> bool:
        return super().validates_on_test or len(self._splits) == 1

    def test_images(self) -> PackedImages:
        return super().test_images() if len(self._splits) > 1 else self.train_and_val_images()[1]

    def all_classes(self) -> Classes:
        ids = self._splits["train"].classes
        return Classes(ids, ids)

    def packed(self, split: str) -> PackedImages:
        name = f"{split}-{self.pipeline.side}"
        name, some = cache_name(name, cache_folder(self._folder, name), self._some_classes)
        known = self.all_classes().ids
        files = scan_split(self._splits[split], self.classes.ids if some else known, known)
        cache = cache_folder(self._folder, name)
        if not cache.is_relative_to(self._folder):
            log.info(f"{self._folder} can't be written: its packed images are kept in {cache}.")
        with locked(cache):
            return pack(files, self.pipeline.side, cache / name, on_bad_images=self.on_bad_images)

    @cached_property
    def _splits(self) -> dict[str, Split]:
        named = self.chosen_classes if isinstance(self.chosen_classes, list) else ()
        return find_splits(self._folder, [str(class_id) for class_id in named])

    @cached_property
    def _folder(self) -> Path:
        return self._extracted()
