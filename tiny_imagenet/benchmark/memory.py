"""How much memory processes take that read one packed set."""

import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np

from tiny_imagenet.data.packed import PackedImages

SMAPS = Path("/proc/self/smaps_rollup")


def reading_memory(images: PackedImages, processes: int) -> float | None:
    """MiB that several processes take together for having read all images, beyond as many that have read none.

    A page that several share counts once. None where the system does not tell (it is Linux that does).
    """
    if not SMAPS.exists():
        return None
    return _total(images, processes, read=True) - _total(images, processes, read=False)


def _total(images: PackedImages, processes: int, read: bool) -> float:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.SimpleQueue()
    workers = [context.Process(target=_read, args=(images, read, barrier, results)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    total = sum(results.get() for _ in workers)
    for worker in workers:
        worker.join()
    return total


def _read(images: PackedImages, read: bool, barrier: Barrier, results: multiprocessing.SimpleQueue) -> None:
    if read:
        for rows in np.array_split(np.arange(len(images)), -(-len(images) // 512)):
            images[rows]
    barrier.wait()  # All have mapped all pages, so that each counts its share of them.
    line = next(line for line in SMAPS.read_text().splitlines() if line.startswith("Pss:"))
    barrier.wait()  # None has gone before all have counted.
    results.put(int(line.split()[1]) / 1024)
