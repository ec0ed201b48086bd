"""The DataLoader of whole batches, and the Batch that it yields."""

import os
import signal
import threading
from collections.abc import Iterator, Sized
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tiny_imagenet.data.batches.sampler import BatchRequest
from tiny_imagenet.run.stop_signals import signals_held


class Batch(NamedTuple):
    """What a loader yields, and what a step gets after the data module has augmented and normalised it.

    images: uint8 [B, 3, H, W] from the loader, normalised float32 in a step, in channels-last memory. targets: class
    labels, int64 [B], or float [B, C] if the images were mixed; in prediction, the rows of the images that could be
    read. rows: the rows of the data set that were requested, int64 [B]. seed: of a training step's randomness, or -1.
    """

    images: Tensor
    targets: Tensor
    rows: Tensor
    seed: int


class IndexedImages(Sized, Protocol):
    """Images that are read many at a time: rows [B] give images uint8 [B, 3, H, W] and labels int64 [B]."""

    def __getitem__(self, rows: np.ndarray) -> tuple[Tensor, Tensor]: ...


class _Batches(Dataset):
    def __init__(self, images: IndexedImages) -> None:
        self.images = images

    def __getitem__(self, request: BatchRequest) -> Batch:
        return Batch(*self.images[request.rows], torch.from_numpy(request.rows), request.seed)


class _Loader(DataLoader):
    def __iter__(self) -> Iterator[Batch]:
        with signals_held():  # until workers that start now ignore them
            return super().__iter__()


def batch_loader(images: IndexedImages, sampler: Sampler, num_workers: int = 0, pin_memory: bool = False) -> DataLoader:
    """A DataLoader of whole batches, each a single indexed read without collation."""
    return _Loader(
        _Batches(images),
        sampler=sampler,
        batch_size=None,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        worker_init_fn=_ignore_signals,
    )


def _ignore_signals(worker: int) -> None:
    """Ignore Ctrl-C and SIGTERM to the process group: the training process saves first, then stops its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):  # not on Windows
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS, where SIGTERM ends a worker
        threading.Thread(target=_exit_on_sigterm_of_parent, daemon=True).start()
    elif hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _exit_on_sigterm_of_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
