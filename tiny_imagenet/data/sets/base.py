"""ImageDataModule: what every data set shares, from class folders to normalised batches on the device."""

import logging
import os
from abc import abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Literal

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from tiny_imagenet.data.augment import Augmentation
from tiny_imagenet.data.batches.loader import Batch, IndexedImages, batch_loader
from tiny_imagenet.data.batches.mix import Mix
from tiny_imagenet.data.batches.pipeline import BatchPipeline
from tiny_imagenet.data.batches.sampler import EvalBatches, TrainBatches, batches_per_epoch
from tiny_imagenet.data.images.loose import LooseImages
from tiny_imagenet.data.images.packed import PackedImages
from tiny_imagenet.data.info import IMAGENET_MEAN, IMAGENET_STD, DatasetInfo, require_same_classes
from tiny_imagenet.data.sets.split import choose_classes, of_classes, split_holdout
from tiny_imagenet.data.sets.tiny_imagenet_layout import Classes
from tiny_imagenet.errors import UserError

log = logging.getLogger(__name__)


class ImageDataModule(pl.LightningDataModule):
    """Images of one data set as batches on the device: packed once, read by index, augmented there.

    Args:
        root: folder that the data set is kept in or brought to.
        archive: URL or local path of the archive; null where `root` already holds its files.
        md5: checksum of the archive; null accepts any.
        image_size: side of the square images that the network sees, in pixels.
        batch_size: images per step and device.
        holdout: training images to hold out for validation, as a number or a share. 0 trains on everything, and
            validates on the official validation images, or on the test images where there are no others.
        classes: the first N classes, or those with the given ids, with labels 0..N-1; null uses all.
        resize: resize to this side, then crop `image_size` from it: at random in training, the centre otherwise.
        augment: augmentations of training batches, in this order.
        mix: MixUp and CutMix of training batches; null mixes nothing.
        progressive: sides of the training images by share of the epochs, such as {32: 0, 64: 0.5}; see `BatchPipeline`.
        normalize: with the statistics of the training pixels (dataset), or of ImageNet (for its pretrained weights).
        num_workers: processes that read batches; 0 reads in the training process.
        images: for `predict`: an image file, or a folder of them, instead of images of the data set.
    """

    def __init__(
        self,
        root: str,
        archive: str | None = None,
        md5: str | None = None,
        image_size: int = 64,
        batch_size: int = 128,
        holdout: int | float = 0.1,
        classes: int | list[str] | None = None,
        resize: int | None = None,
        augment: list[Augmentation] | None = None,
        mix: Mix | None = None,
        progressive: dict[int, float] | None = None,
        normalize: Literal["dataset", "imagenet"] = "dataset",
        num_workers: int = 0,
        images: str | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1 or image_size < 1:
            raise UserError(f"batch_size and image_size must be at least 1, not {batch_size} and {image_size}.")
        if num_workers < 0:
            raise UserError(f"num_workers must be at least 0, not {num_workers}.")
        if resize is not None and resize < image_size:
            raise UserError(
                f"resize {resize} is smaller than image_size {image_size}: nothing that size can be cropped."
            )
        self.root, self.archive, self.md5 = Path(root).expanduser(), archive, md5
        self.batch_size, self.holdout, self.num_workers = batch_size, holdout, num_workers
        self.chosen_classes, self.normalize, self.images = classes, normalize, images
        self.pipeline = BatchPipeline(image_size, resize, list(augment or []), mix, progressive)
        self.sets: dict[str, IndexedImages] = {}
        self._mean_std: tuple[Tensor, Tensor] | None = None

    # What each kind of data set supplies

    @abstractmethod
    def all_classes(self) -> Classes:
        """The classes of the whole data set, in the order of their labels."""

    @abstractmethod
    def packed(self, split: str) -> PackedImages:
        """The packed images of `train`, `val` or `test`, after downloading, extracting and packing what is missing."""

    @property
    def test_split(self) -> str:
        """The split whose labelled images are the test set."""
        return "test"

    @property
    def val_split(self) -> str:
        """The split whose labelled images are the validation set where none are held out."""
        return self.test_split

    def test_images(self) -> PackedImages:
        """The labelled images to test on."""
        return self._selected(self.test_split)

    @property
    def validates_on_test(self) -> bool:
        """Whether the validation images are the test images, so that an epoch chosen by them would not be judged."""
        return not self.holdout and self.val_split == self.test_split

    def unlabelled_images(self) -> PackedImages:
        """The images that `predict` looks at, unless it is given others; with row numbers for labels."""
        images = self.test_images()
        return images.select(np.arange(len(images)), np.arange(len(images)))

    def train_and_val_images(self) -> tuple[PackedImages, PackedImages]:
        """The images to train on and those to validate on, which are held out of them or a split of their own."""
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
        """Download, extract and pack what is missing; Lightning has one process of each machine do it."""
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
        share = len(images) // world_size
        if self.batch_size > share:
            raise UserError(
                f"batch_size {self.batch_size} is larger than the {share:,} training images of each of {world_size} "
                f"device(s). Choose --data.batch_size {share} or less, or more data."
            )
        if self.batch_size == 1 and len(images) % world_size:  # Larger batches differ in size by an image instead.
            raise UserError(
                f"{len(images):,} images cannot be dealt out one by one to {world_size} devices: some would have none "
                "for a step. Choose --data.batch_size 2 or more, or another number of devices."
            )
        if from_share := self.pipeline.other_sizes_until():
            log.info(
                f"progressive: for the first {from_share:.0%} of the epochs, training images have another size than "
                "those of validation, whose accuracy says little until then."
            )
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))  # set by Lightning's seed_everything
        images.read_ahead()
        sampler = TrainBatches(len(images), self.batch_size, seed, self._position, rank, world_size)
        return batch_loader(images, sampler, self.num_workers, self._on_gpu)

    def val_dataloader(self) -> DataLoader:
        return self._evaluation_loader("val")

    def test_dataloader(self) -> DataLoader:
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader:
        return self._evaluation_loader("predict")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """The batch as the network sees it, made on the device. See `BatchPipeline`."""
        mean, std = self._statistics(batch.images.device)
        if self.trainer.training:
            epoch, epochs = self.trainer.current_epoch, self.trainer.max_epochs
            return self.pipeline.train(batch, mean, std, len(self.info.class_ids), epoch, epochs)
        return self.pipeline.evaluate(batch, mean, std)

    def state_dict(self) -> dict[str, int]:
        return {"steps_per_epoch": self.steps_per_epoch, "images": len(self.sets["train"])}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Refuse to go on with other batches than before, where the position in an epoch would mean other images."""
        if self._stage == "fit" and state_dict != self.state_dict():
            before, now = (
                "{images:,} images in {steps_per_epoch:,} batches".format(**d) for d in (state_dict, self.state_dict())
            )
            raise UserError(
                f"This checkpoint is of a training with {before} an epoch; now it would be {now}. Go on with the "
                "same data, holdout, batch size and number of devices, or start a new run from it with --model.weights."
            )

    # What the network asks

    @cached_property
    def classes(self) -> Classes:
        """The classes in use, in the order of their labels."""
        return choose_classes(self.all_classes(), self.chosen_classes)

    @cached_property
    def info(self) -> DatasetInfo:
        """What a network that is trained on this data must know about it."""
        if self.normalize == "imagenet":
            mean, std = IMAGENET_MEAN, IMAGENET_STD
        else:
            mean, std = self._selected("train").mean_std()
        return DatasetInfo(self.classes.ids, self.classes.names, self.pipeline.image_size, mean, std)

    def adopt(self, info: DatasetInfo) -> None:
        """Normalise as a trained network expects it.

        Raises:
            UserError: the network knows other classes than this data has.
        """
        if self._stage != "predict":
            require_same_classes(info, self.classes.ids)
        self.info, self._mean_std = info, None

    @property
    def steps_per_epoch(self) -> int:
        """Batches that each device trains on in an epoch, `limit_train_batches` included."""
        batches = batches_per_epoch(len(self.sets["train"]), self.batch_size, self._ranks[1])
        limit = self.trainer.limit_train_batches if self.trainer else 1.0
        return min(batches, limit) if isinstance(limit, int) else int(batches * limit)

    def _selected(self, split: str) -> PackedImages:
        """A split without the classes that are not in use."""
        return of_classes(self.packed(split), self.all_classes(), self.classes)

    def _evaluation_loader(self, name: str) -> DataLoader:
        images, (rank, world_size) = self.sets[name], self._ranks
        sampler = EvalBatches(len(images), self.batch_size, rank, world_size)
        return batch_loader(images, sampler, self.num_workers, self._on_gpu)

    def _position(self) -> tuple[int, int]:
        """The epoch and the batch in it that training goes on with, from the progress that a checkpoint restores."""
        if self.trainer is None:
            return 0, 0
        return divmod(self.trainer.fit_loop.epoch_loop.batch_progress.total.ready, self.steps_per_epoch)

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

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """mean and std as tensors [3]; kept, since to copy them to a GPU at every step would make it wait."""
        if self._mean_std is None or self._mean_std[0].device != device:
            self._mean_std = torch.tensor(self.info.mean, device=device), torch.tensor(self.info.std, device=device)
        return self._mean_std
