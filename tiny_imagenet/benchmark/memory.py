"""How much memory processes need to read one packed set."""

import multiprocessing
import re
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np

from tiny_imagenet.data.images.packed import PIXELS, PackedImages

SMAPS = Path("/proc/self/smaps")


def reading_memory(images: PackedImages, processes: int) -> dict[str, float] | None:
    """MiB that several processes use together after reading all images: `all`, and the part for the `images`.

    The memory for the images is the mapped file and what the processes allocated while reading. A page that several
    processes share counts once. None on systems other than Linux, which do not provide these figures.
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
    allocated = _mib("Anonymous")
    for rows in np.array_split(np.arange(len(images)), -(-len(images) // 512)):
        images[rows]
    barrier.wait()  # Now every process has mapped all pages; Pss divides each page by the number of processes.
    mapped = _mib("Pss", str(images.cache / PIXELS))
    found = {"all": _mib("Pss"), "images": mapped + _mib("Anonymous") - allocated}
    barrier.wait()  # No process may exit before all have counted.
    results.put(found)


def _mib(figure: str, file: str = "") -> float:
    """The sum of a figure of Linux's smaps over this process's memory mappings, or over those of one file, in MiB."""
    mappings = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", SMAPS.read_text(), flags=re.MULTILINE)
    kib = (re.search(rf"^{figure}: +(\d+) kB$", mapping, re.MULTILINE) for mapping in mappings if file in mapping)
    return sum(int(found[1]) for found in kib if found) / 1024
