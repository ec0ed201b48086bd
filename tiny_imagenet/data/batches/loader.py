"""From a sampler's requests to batches: the data set adapter and the standard DataLoader around it."""

import os
import signal
import threading
from collections.abc import Sized
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tiny_imagenet.data.batches.sampler import BatchRequest


class Batch(NamedTuple):
    """What a loader yields.

    images: uint8 [B, 3, H, W] in channels-last memory. targets: class labels, int64 [B] (row numbers in prediction,
    where there are no labels). seed: of the step's randomness in training, -1 otherwise.
    """

    images: Tensor
    targets: Tensor
    seed: int


class IndexedImages(Sized, Protocol):
    """Images that are read many at a time: rows [B] to uint8 [B, 3, H, W] and int64 [B]."""

    def __getitem__(self, rows: np.ndarray) -> tuple[Tensor, Tensor]: ...


class _Batches(Dataset):
    def __init__(self, images: IndexedImages) -> None:
        self.images = images

    def __getitem__(self, request: BatchRequest) -> Batch:
        return Batch(*self.images[request.rows], request.seed)


def batch_loader(images: IndexedImages, sampler: Sampler, num_workers: int = 0, pin_memory: bool = False) -> DataLoader:
    """A DataLoader of whole batches: each is one indexed read, without collation; pinned for a GPU to copy."""
    return DataLoader(
        _Batches(images),
        sampler=sampler,
        batch_size=None,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        worker_init_fn=_leave_signals_to_the_training,
    )


def _leave_signals_to_the_training(worker: int) -> None:
    """Ctrl-C and SIGTERM often reach all processes of a group; the training saves first, and ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_the_training_says_so, daemon=True).start()


def _end_when_the_training_says_so() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
