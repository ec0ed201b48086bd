"""Reads pixels into memory ahead of the first epoch, as far as there is memory to spare."""

import mmap
from contextlib import suppress
from pathlib import Path

import numpy as np

from tiny_imagenet import threads

SHARE = 0.5  # of the free memory
PART = 2**26  # bytes that are read before the free memory is looked at again


def read_ahead(pixels: np.ndarray) -> None:
    """Touch every page of a memory map uint8 [N] from its start, until these take SHARE of the free memory.

    Linux maps sixteen pages at a time, but with one in sixteen touched a batch of 128 still took 0.5 to 1 ms instead of
    0.3 (Linux 6.18, 2026-11-21).
    """
    for start in range(0, len(pixels), PART):
        end = min(start + PART, len(pixels))
        if end > SHARE * free_memory():
            return
        pixels[start : end : mmap.PAGESIZE].max()


def free_memory() -> float:
    """Bytes that this process could still get from the system and from each of its control groups, without swapping.

    Pages of files count as free, since they can be dropped. Infinite where the system does not say.
    """
    free = [float("inf")]
    with suppress(OSError, KeyError, ValueError):
        free.append(1024 * _numbers(threads.PROC / "meminfo")["MemAvailable:"])
    for folder, version in threads.control_groups("memory"):
        with suppress(OSError, KeyError, ValueError):
            free.append(_free_in_group(folder, version))
    return min(free)


def _free_in_group(folder: Path, version: int) -> int:
    """As `free_memory`; raises ValueError if the group has no limit."""
    if version == 1:
        names, used, of_all = ("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_"
    else:
        names, used, of_all = ("memory.max", "memory.high"), "memory.current", ""
    limits = [text for name in names if (text := (folder / name).read_text().strip()) != "max"]
    found = _numbers(folder / "memory.stat")
    files = found[f"{of_all}active_file"] + found[f"{of_all}inactive_file"]
    return min(map(int, limits)) - int((folder / used).read_text()) + files


def _numbers(path: Path) -> dict[str, int]:
    """The lines of a file that begin with a name and a number."""
    return {name: int(number) for name, number, *_ in map(str.split, path.read_text().splitlines())}
