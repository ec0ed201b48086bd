"""Which images make batch k of epoch e on rank r, and with which random seed."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from tiny_imagenet.data.batches.balance import balanced_order


class BatchRequest(NamedTuple):
    """The rows of one batch, and the seed of its step (-1 in evaluation)."""

    rows: np.ndarray
    seed: int


def batches_per_epoch(images: int, batch_size: int, world_size: int = 1) -> int:
    """The number of batches on each rank in an epoch."""
    return -(-images // (batch_size * world_size))


def batch_rows(images: int, batch_size: int, batch: int, rank: int = 0, world_size: int = 1) -> slice:
    """The slice of an epoch's order that makes one batch, of positions 0..images-1.

    The slices of all batches and ranks are disjoint and cover all images: none is dropped, repeated or padded.
    Their sizes differ by at most one image, and none is larger than `batch_size`. So an epoch of batches of 3 or more
    never ends with a single image (on which batch normalisation may fail), and all ranks take the same number of steps.
    """
    pieces = batches_per_epoch(images, batch_size, world_size) * world_size
    piece = batch * world_size + rank
    return slice(piece * images // pieces, (piece + 1) * images // pieces)


def epoch_order(images: int, seed: int, epoch: int) -> np.ndarray:
    """The order in which an epoch visits the images: a permutation of 0..images-1, int64, the same on every rank."""
    return np.random.default_rng([seed, epoch]).permutation(images)


def step_seed(seed: int, epoch: int, batch: int, rank: int) -> int:
    """The seed of all randomness of one training step on one rank: augmentation, mixing and dropout; 0 to 2^63 - 1."""
    return int(np.random.SeedSequence([seed, epoch, batch, rank]).generate_state(1, np.uint64)[0] >> 1)


class TrainBatches(Sampler):
    """The batches of one epoch from a given position on, each as a `BatchRequest`.

    `position()` returns (epoch, first batch) when an iteration begins. A `set_epoch` would come too late, since worker
    processes fetch ahead; the training loop's progress, which a checkpoint restores, is the only source.

    Args:
        labels: class of each image, int64 [images], to draw all classes equally often; None visits each image once.
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        seed: int,
        position: Callable[[], tuple[int, int]],
        rank: int = 0,
        world_size: int = 1,
        labels: np.ndarray | None = None,
    ) -> None:
        self.images, self.batch_size, self.seed, self.position = images, batch_size, seed, position
        self.rank, self.world_size, self.labels = rank, world_size, labels

    def __len__(self) -> int:
        return batches_per_epoch(self.images, self.batch_size, self.world_size)

    def __iter__(self) -> Iterator[BatchRequest]:
        epoch, first = self.position()
        if self.labels is None:
            order = epoch_order(self.images, self.seed, epoch)
        else:
            order = balanced_order(self.labels, self.seed, epoch)
        for batch in range(first, len(self)):
            rows = order[batch_rows(self.images, self.batch_size, batch, self.rank, self.world_size)]
            yield BatchRequest(rows, step_seed(self.seed, epoch, batch, self.rank))


class EvalBatches(Sampler):
    """Every image exactly once over all ranks, in order, each batch as a `BatchRequest` with seed -1."""

    def __init__(self, images: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.images, self.batch_size, self.rank, self.world_size = images, batch_size, rank, world_size

    def __len__(self) -> int:
        return batches_per_epoch(self.images, self.batch_size, self.world_size)

    def __iter__(self) -> Iterator[BatchRequest]:
        for batch in range(len(self)):
            rows = batch_rows(self.images, self.batch_size, batch, self.rank, self.world_size)
            yield BatchRequest(np.arange(rows.start, rows.stop), -1)
