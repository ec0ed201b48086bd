"""Finds the files that a power cut left without their content, by the sizes that they have in the archive."""

import os
from pathlib import Path

from tiny_imagenet.data.fetch.unpack import BLOCK, file_sizes


def cut_short(archive: Path, folder: Path) -> list[str]:
    """The files of an extracted folder that are empty or end after whole blocks, and are longer in the archive.

    A file looks like this if its name reached the disk before its content (ext4 and XFS allocate late). Files that were
    moved or edited do not count, unless they were emptied.

    Args:
        archive: what was extracted; only its directory is read, if it is a zip.

    Returns:
        Their paths, relative to the folder and sorted.
    """
    sizes: dict[str, set[int]] = {}
    for name, size in file_sizes(archive):
        sizes.setdefault(os.path.basename(name), set()).add(size)
    found = []
    for place, _, names in os.walk(folder):
        for name in sizes.keys() & set(names):
            path = os.path.join(place, name)
            size = os.lstat(path).st_size
            if size not in sizes[name] and size % BLOCK == 0 and size < max(sizes[name]):
                found.append(os.path.relpath(path, folder))
    return sorted(found)
