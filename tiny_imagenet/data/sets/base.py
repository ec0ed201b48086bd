"""ImageDataModule, the base class of all data sets: from class folders to normalised batches on the device."""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Literal

import lightning.pytorch as pl
import numpy as np
from torch.utils.data import DataLoader

from tiny_imagenet.data.augment import Augmentation
from tiny_imagenet.data.augment.per_image import PerImage
from tiny_imagenet.data.batches.balance import Balance, class_weights
from tiny_imagenet.data.batches.loader import Batch, IndexedImages, batch_loader
from tiny_imagenet.data.batches.mix import Mix
from tiny_imagenet.data.batches.pipeline import BatchPipeline
from tiny_imagenet.data.batches.sampler import EvalBatches, TrainBatches, batches_per_epoch
from tiny_imagenet.data.fetch.archive import extract_again, extracted
from tiny_imagenet.data.fetch.download import LARGEST
from tiny_imagenet.data.images.decode import DECODED_BY
from tiny_imagenet.data.images.loose import LooseImages
from tiny_imagenet.data.images.packed import PackedImages
from tiny_imagenet.data.images.unreadable import OnBadImages
from tiny_imagenet.data.info import IMAGENET_MEAN, IMAGENET_STD, DatasetInfo, require_same_classes
from tiny_imagenet.data.sets.advice import require_batches, tell_small, tell_unbalanced
from tiny_imagenet.data.sets.split import choose_classes, of_classes, split_holdout
from tiny_imagenet.data.sets.tiny_imagenet_layout import Classes
from tiny_imagenet.errors import UserError
from tiny_imagenet.run.lightning_internals import batches_trained

log = logging.getLogger(__name__)

MOST_WORKERS = 256


class ImageDataModule(pl.LightningDataModule, ABC):
    """Abstract: the images of a data set as batches on the device, packed once, read by index and augmented there.

    Args:
        root: folder with the data set, or to extract it to.
        archive: URL or local path of the archive; null if `root` already has its files.
        md5: checksum of the archive; null accepts any.
        image_size: side of the square images that the network sees, in pixels.
        batch_size: images per step and device.
        holdout: training images to hold out for validation, as a number or a fraction. 0 trains on all of them and
            validates on the official validation images, or on the test images if there are none.
        classes: the first N classes, or those with the given ids, with labels 0..N-1; null uses all.
        resize: resize to this side, then crop `image_size` from it: a random crop in training, before augmentation,
            otherwise the centre.
        augment: augmentations of training batches, in this order; also transforms of single images, such as
            torchvision's, by their full class path.
        mix: MixUp and CutMix of training batches; null disables them.
        progressive: sides of the training images by fraction of the epochs, such as {32: 0, 64: 0.5}, at which each
            epoch is also validated; see `BatchPipeline`.
        normalize: by mean and standard deviation of the training pixels (dataset), or of ImageNet (for its pretrained
            weights).
        balance: how to train on unbalanced classes: by a training loss in which all classes weigh the same (loss), by
            batches in which all are equally frequent (sampling), or as they are (none).
        num_workers: processes that read batches; 0 reads in the training process.
        images: for `predict`: an image file, a folder of them, a pattern such as `photos/**/*.jpg`, or a list of
            these, instead of images of the data set.
        on_bad_images: whether images that can't be decoded are an error, or are left out (skip) and listed.
    """

    def __init__(
        self,
        root: str,
        archive: str | None = None,
        md5: str | None = None,
        image_size: int = 64,
        batch_size: int = 128,
        holdout: int | float = 0.1,
        classes: int | list[str | int] | None = None,
        resize: int | None = None,
        augment: list[Augmentation | Callable] | None = None,
        mix: Mix | None = None,
        progressive: dict[int, float] | None = None,
        normalize: Literal["dataset", "imagenet"] = "dataset",
        balance: Balance = "none",
        num_workers: int = 0,
        images: str | list[str] | None = None,
        on_bad_images: OnBadImages = "error",
    ) -> None:
        super().__init__()
        if batch_size < 1 or image_size < 1:
            raise UserError(f"batch_size and image_size must be at least 1, not {batch_size} and {image_size}.")
        if num_workers < 0:
            raise UserError(f"num_workers must be at least 0, not {num_workers}.")
        if num_workers > MOST_WORKERS:  # a config may come from anyone, and so many stop a machine
            raise UserError(f"num_workers must be at most {MOST_WORKERS}, not {num_workers:,}.")
        if resize is not None and resize < image_size:
            raise UserError(
                f"resize {resize} is smaller than image_size {image_size}, which is cropped from it. Use "
                f"--data.resize {image_size} or more."
            )
        self.root, self.archive, self.md5 = Path(os.path.expanduser(root)), archive, md5
        self.batch_size, self.holdout, self.num_workers = batch_size, holdout, num_workers
        self.chosen_classes, self.normalize, self.images = classes, normalize, images
        self.balance, self.on_bad_images = balance, on_bad_images
        augmentations = [each if isinstance(each, Augmentation) else PerImage(each) for each in augment or ()]
        self.pipeline = BatchPipeline(image_size, resize, augmentations, mix, progressive)
        self.sets: dict[str, IndexedImages] = {}
        self._of_split: dict[str, PackedImages] = {}
        self._info: DatasetInfo | None = None

    # What each data set implements

    @abstractmethod
    def all_classes(self) -> Classes:
        """The classes of the whole data set, in the order of their labels."""

    @abstractmethod
    def packed(self, split: str) -> PackedImages:
        """The packed images of `train`, `val` or `test`; downloads, extracts and packs what is missing."""

    @property
    def test_split(self) -> str:
        """The split whose labelled images are the test set."""
        return "test"

    @property
    def val_split(self) -> str:
        """The split whose labelled images are the validation set if none are held out."""
        return self.test_split

    def test_images(self) -> PackedImages:
        """The labelled images to test on."""
        return self._selected(self.test_split)

    @property
    def validates_on_test(self) -> bool:
        """Whether the validation images are the test images, so that these also choose the best epoch."""
        return not self.holdout and self.val_split == self.test_split

    def unlabelled_images(self) -> PackedImages:
        """The images that `predict` reads by default, with row numbers as labels."""
        images = self.test_images()
        return images.select(np.arange(len(images)), np.arange(len(images)))

    def train_and_val_images(self) -> tuple[PackedImages, PackedImages]:
        """The images to train on and to validate on; the latter are held out, or a split of their own."""
        train = self._selected("train")
        if self.holdout:
            train_rows, val_rows = split_holdout(train.names, train.labels, self.holdout)
            return train.select(train_rows), train.select(val_rows)
        val = self._selected(self.val_split)
        both = "validation and test both use" if self.val_split == self.test_split else "validation uses"
        log.info(f"holdout 0: training on all {len(train):,} images; {both} the {len(val):,} of {val.files.folder}.")
        return train, val

    # What Lightning calls

    def prepare_data(self) -> None:
        """Download, extract and pack what is missing; Lightning calls it in one process of each machine.

        If this fails because a power cut emptied files, they are extracted again.
        """
        try:
            self.setup(self._stage)
        except UserError:
            if not (self._sources() and extract_again(self._sources(), self.root)):
                raise
            self._forget()
            self.setup(self._stage)

    def setup(self, stage: str) -> None:
        """Open the sets that a stage (`fit`, `validate`, `test`, `predict`) reads."""
        if self.sets.keys() >= {"fit": {"train", "val"}, "validate": {"val"}}.get(stage, {stage}):
            return
        if stage == "test":
            self.sets["test"] = self.test_images()
        elif stage == "predict":
            self.sets["predict"] = (
                LooseImages(self.images, self.pipeline.side) if self.images else self.unlabelled_images()
            )
        else:
            self.sets["train"], self.sets["val"] = self.train_and_val_images()

    def train_dataloader(self) -> DataLoader:
        images, rank, world_size = self.sets["train"], *self._ranks
        require_batches(len(images), self.batch_size, world_size)
        tell_small(self.steps_per_epoch, self.batch_size)
        if self.balance == "none":
            tell_unbalanced(images.labels, images.files.folder)
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))  # set by Lightning's seed_everything
        images.read_ahead()
        labels = images.labels if self.balance == "sampling" else None
        sampler = TrainBatches(len(images), self.batch_size, seed, self._position, rank, world_size, labels=labels)
        return batch_loader(images, sampler, self.num_workers, self._on_gpu)

    def val_dataloader(self) -> DataLoader:
        return self._evaluation_loader("val")

    def test_dataloader(self) -> DataLoader:
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader:
        return self._evaluation_loader("predict")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment and normalise a batch on the device; see `BatchPipeline`."""
        mean, std = self.info.mean_std(batch.images.device)
        epoch, epochs = self.trainer.current_epoch, self.trainer.max_epochs
        if self.trainer.training:
            images, targets = self.pipeline.train(batch, mean, std, len(self.info.class_ids), epoch, epochs)
        else:
            size = self.pipeline.val_size(epoch, epochs) if self.trainer.state.fn == "fit" else None
            images, targets = self.pipeline.evaluate(batch, mean, std, size)
        return batch._replace(images=images, targets=targets)

    def state_dict(self) -> dict[str, int | str]:
        images = self.sets["train"]
        known = {"steps_per_epoch": self.steps_per_epoch, "images": len(images)}
        return known | {"digest": images.digest, "decoded_by": DECODED_BY}

    # What the network needs

    @cached_property
    def classes(self) -> Classes:
        """The classes in use, in the order of their labels."""
        return choose_classes(self.all_classes(), self.chosen_classes)

    @property
    def info(self) -> DatasetInfo:
        """What a network needs to know about this data, or the info of a trained network; see `adopt`."""
        if self._info is None:
            imagenet = self.normalize == "imagenet"
            mean, std = (IMAGENET_MEAN, IMAGENET_STD) if imagenet else self._selected("train").mean_std()
            self._info = DatasetInfo(self.classes.ids, self.classes.names, self.pipeline.image_size, mean, std)
        return self._info

    @property
    def loss_weights(self) -> np.ndarray | None:
        """The weight of each class in the training loss, float64 [C]; None if all images weigh the same."""
        if self.balance != "loss":
            return None
        return class_weights(self.sets["train"].labels, len(self.classes.ids))

    def adopt(self, info: DatasetInfo) -> None:
        """Take over a trained network's info, and normalise as it expects.

        Raises:
            UserError: the network's classes are not those of this data.
        """
        if self._stage != "predict":
            require_same_classes(info, self.classes.ids)
        self._info = info

    @property
    def steps_per_epoch(self) -> int:
        """Batches that each device trains on in an epoch, `limit_train_batches` included."""
        batches = batches_per_epoch(len(self.sets["train"]), self.batch_size, self._ranks[1])
        limit = self.trainer.limit_train_batches if self.trainer else 1.0
        return min(batches, limit) if isinstance(limit, int) else int(batches * limit)

    def _sources(self) -> list[str]:
        """Where to get the archive, the preferred source first; empty if `root` already has its files."""
        return [self.archive] if self.archive else []

    def _extracted(self, largest: int = LARGEST) -> Path:
        """The folder of the archive's files, which are downloaded and extracted if missing; without archive, `root`.

        Args:
            largest: bytes to download, at most.
        """
        sources = self._sources()
        return extracted(sources, self.md5, self.root, largest) if sources else self.root

    def _forget(self) -> None:
        """Forget what was read of the files so far."""
        self._of_split.clear()
        for name in [name for name in vars(self) if isinstance(getattr(type(self), name, None), cached_property)]:
            delattr(self, name)

    def _selected(self, split: str) -> PackedImages:
        """The images of a split that belong to the classes in use; its files are scanned once."""
        if split not in self._of_split:
            self._of_split[split] = of_classes(self.packed(split), self.classes.ids)
        return self._of_split[split]

    @property
    def _some_classes(self) -> Classes | None:
        """The classes in use, if they are not all."""
        return None if self.chosen_classes is None or self.classes.ids == self.all_classes().ids else self.classes

    def _evaluation_loader(self, name: str) -> DataLoader:
        images, (rank, world_size) = self.sets[name], self._ranks
        sampler = EvalBatches(len(images), self.batch_size, rank, world_size)
        num_workers = 0 if isinstance(images, LooseImages) else self.num_workers  # they have processes of their own
        return batch_loader(images, sampler, num_workers, self._on_gpu)

    def _position(self) -> tuple[int, int]:
        """The epoch, and the batch in it, to continue with, from the progress that a checkpoint restores."""
        return divmod(batches_trained(self.trainer), self.steps_per_epoch) if self.trainer else (0, 0)

    @property
    def _ranks(self) -> tuple[int, int]:
        """This process's rank and the number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    @property
    def _on_gpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    @property
    def _stage(self) -> str:
        return self.trainer.state.fn.value if self.trainer and self.trainer.state.fn else "fit"
