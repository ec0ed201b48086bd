"""Which images make batch k of epoch e on rank r, with which random seed: pure functions, and samplers over them."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class BatchRequest(NamedTuple):
    """What a sampler asks a data set for: the rows of one batch, and the seed of its step (-1 in evaluation)."""

    rows: np.ndarray
    seed: int


def batches_per_epoch(images: int, batch_size: int, world_size: int = 1) -> int:
    """The number of batches that each rank sees in an epoch: every image is in exactly one batch of one rank."""
    return -(-images // (batch_size * world_size))


def batch_rows(images: int, batch_size: int, batch: int, rank: int = 0, world_size: int = 1) -> slice:
    """The part of an epoch's order that makes one batch.

    The images are dealt out evenly: sizes differ by at most one image, between batches and between ranks, and none is
    larger than `batch_size`. So no epoch of batches of 3 or more ends in a single image (on which batch normalisation
    may fail), no image is dropped, repeated or padded, and all ranks take the same number of steps.

    Returns a slice over positions 0..images-1; positions of all (batch, rank) are disjoint and cover everything.
    """
    pieces = batches_per_epoch(images, batch_size, world_size) * world_size
    piece = batch * world_size + rank
    return slice(piece * images // pieces, (piece + 1) * images // pieces)


def rows_of_batches(images: int, batch_size: int, batches: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
    """The positions in an epoch's order that a rank's first `batches` batches are made of, int64, in their order."""
    parts = [batch_rows(images, batch_size, batch, rank, world_size) for batch in range(batches)]
    return np.concatenate([np.arange(part.start, part.stop) for part in parts])


def epoch_order(images: int, seed: int, epoch: int) -> np.ndarray:
    """The order in which an epoch visits the images: a permutation of 0..images-1, int64, the same on every rank."""
    return np.random.default_rng([seed, epoch]).permutation(images)


def step_seed(seed: int, epoch: int, batch: int, rank: int) -> int:
    """The seed of all randomness of one training step on one rank: augmentation, mixing and dropout; 0 to 2^63 - 1."""
    return int(np.random.SeedSequence([seed, epoch, batch, rank]).generate_state(1, np.uint64)[0] >> 1)


class TrainBatches(Sampler):
    """The batches of one epoch from a given position on, each as a `BatchRequest`.

    `position()` is asked when an iteration begins and returns (epoch, first batch). It is asked, rather than told by a
    `set_epoch`, because worker processes fetch ahead before anyone could tell: the training loop's own progress, which
    a checkpoint restores, is the one truth.
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        seed: int,
        position: Callable[[], tuple[int, int]],
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.images, self.batch_size, self.seed, self.position = images, batch_size, seed, position
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return batches_per_epoch(self.images, self.batch_size, self.world_size)

    def __iter__(self) -> Iterator[BatchRequest]:
        epoch, first = self.position()
        order = epoch_order(self.images, self.seed, epoch)
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
