"""From a sampler's requests to batches: a data set of whole batches, and the standard DataLoader around it."""

import os
import signal
import threading
from collections.abc import Sized
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tiny_imagenet.data.batches.sampler import BatchRequest


class Batch(NamedTuple):
    """What a loader yields, and, once the data module has made its images ready, what a step gets.

    images: uint8 [B, 3, H, W] from the loader, normalised float32 for a step, in channels-last memory. targets: class
    labels, int64 [B], or float [B, C] if the images were mixed; in prediction the rows of those that could be read.
    rows: of the data set that were read, int64 [B]. seed: of the step's randomness in training, -1 otherwise.
    """

    images: Tensor
    targets: Tensor
    rows: Tensor
    seed: int


class IndexedImages(Sized, Protocol):
    """Images that are read many at a time: rows [B] to uint8 [B, 3, H, W] and int64 [B]."""

    def __getitem__(self, rows: np.ndarray) -> tuple[Tensor, Tensor]: ...


class _Batches(Dataset):
    def __init__(self, images: IndexedImages) -> None:
        self.images = images

    def __getitem__(self, request: BatchRequest) -> Batch:
        return Batch(*self.images[request.rows], torch.from_numpy(request.rows), request.seed)


def batch_loader(images: IndexedImages, sampler: Sampler, num_workers: int = 0, pin_memory: bool = False) -> DataLoader:
    """A DataLoader of whole batches: each is one indexed read, without collation, in pinned memory for a GPU."""
    return DataLoader(
        _Batches(images),
        sampler=sampler,
        batch_size=None,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        worker_init_fn=_ignore_signals,
    )


def _ignore_signals(worker: int) -> None:
    """Leave Ctrl-C and SIGTERM, which often reach all processes of a group, to the training: it saves first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_exit_at_the_training_s_signal, daemon=True).start()


def _exit_at_the_training_s_signal() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
