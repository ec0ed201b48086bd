"""How much memory processes take that read one packed set."""

import multiprocessing
import re
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np

from tiny_imagenet.data.images.packed import PIXELS, PackedImages

SMAPS = Path("/proc/self/smaps")


def reading_memory(images: PackedImages, processes: int) -> dict[str, float] | None:
    """MiB that several processes take together once they have read all images: `all`, and `images` alone.

    The images' memory is that of the mapped file and what the processes allocated while they read. A page that several
    share counts once. None where the system does not tell (it is Linux that does).
    """
    if not SMAPS.exists():
        return None
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.SimpleQueue()
    workers = [context.Process(target=_read, args=(images, barrier, results)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    found = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    return {what: sum(each[what] for each in found) for what in ("all", "images")}


def _read(images: PackedImages, barrier: Barrier, results: multiprocessing.SimpleQueue) -> None:
    allocated = _shares("Anonymous")
    for rows in np.array_split(np.arange(len(images)), -(-len(images) // 512)):
        images[rows]
    barrier.wait()  # All have mapped all pages, so that each counts its share of them.
    mapped = _shares("Pss", str(images.cache / PIXELS))
    found = {"all": _shares("Pss"), "images": mapped + _shares("Anonymous") - allocated}
    barrier.wait()  # None has gone before all have counted.
    results.put(found)


def _shares(figure: str, file: str = "") -> float:
    """MiB of one of the figures that Linux gives for each mapping of this process, in all or of one file's mappings."""
    mappings = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", SMAPS.read_text(), flags=re.MULTILINE)
    kib = (re.search(rf"^{figure}: +(\d+) kB$", mapping, re.MULTILINE) for mapping in mappings if file in mapping)
    return sum(int(found[1]) for found in kib if found) / 1024
