"""Images decoded once into a uint8 memory map, and the data set that reads batches from it by index."""

import hashlib
import json
import logging
import os
import threading
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tiny_imagenet.data.images.build import META, UNREADABLE, Fill, build, list_of_unreadable
from tiny_imagenet.data.images.decode import DECODER, abilities, was_decoded_otherwise
from tiny_imagenet.data.images.read_ahead import read_ahead
from tiny_imagenet.data.images.scan import ImageFiles
from tiny_imagenet.data.images.unfinished import PIXELS, SUMS
from tiny_imagenet.data.images.unreadable import OnBadImages, readable_rows, refuse, tell_skipped
from tiny_imagenet.files import read_json, replace_text
from tiny_imagenet.progress import progress

log = logging.getLogger(__name__)

FORMAT = 1  # of the cache; one of another format is packed again


class PackedImages(Dataset):
    """Packed images, or some of them. All processes that read them share one copy in the page cache.

    images: uint8 [M, S, S, 3], the whole memory map, read-only. rows: its rows that belong to this set, int64 [N].
    labels: class labels, int64 [N]; -1 for unlabelled images.
    """

    def __init__(self, cache: Path, files: ImageFiles, rows: np.ndarray, labels: np.ndarray) -> None:
        self.cache, self.files, self.rows, self.labels = cache, files, rows, labels
        self.images = np.load(cache / PIXELS, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """Read many images at once.

        Args:
            index: positions in this set, int64 [B].

        Returns:
            uint8 [B, 3, S, S] in channels-last memory, and int64 labels [B]; both are copies.
        """
        images = torch.from_numpy(self.images[self.rows[index]])
        return images.permute(0, 3, 1, 2), torch.from_numpy(self.labels[index])

    def read_ahead(self) -> threading.Thread:
        """Read this set's part of the file in order, and map it, in a background thread, as far as memory allows.

        Otherwise the first epoch does so image by image, in random order: 1 to 5 ms for a batch of 128 even if the file
        is in memory already (Linux 6.18, 2026-11-21), and a seek per image if not. Worker processes map the file
        themselves.

        Returns:
            The running thread, which need not be joined.
        """
        pixels = self.images[self.rows.min() : self.rows.max() + 1].reshape(-1)
        thread = threading.Thread(target=read_ahead, args=(pixels,), name="read ahead", daemon=True)
        thread.start()
        return thread

    @property
    def names(self) -> list[str]:
        """The file of each image, relative to `files.folder`."""
        return [self.files.names[row] for row in self.rows]

    def select(self, rows: np.ndarray, labels: np.ndarray | None = None) -> "PackedImages":
        """A set of some of these images, without copying pixels.

        Args:
            rows: positions in this set, int64 [K].
            labels: their labels in the new set, int64 [K]; None keeps their labels.
        """
        return PackedImages(self.cache, self.files, self.rows[rows], self.labels[rows] if labels is None else labels)

    def mean_std(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Mean and standard deviation of each channel over all pixels of these images, in units of 0..1.

        Computed exactly from the sums of packing, without reading pixels. A standard deviation is at least one grey
        level, so that a constant channel can be divided by it.
        """
        sums = np.load(self.cache / SUMS, mmap_mode="r")[self.rows].sum(0) / (len(self) * self.images.shape[1] ** 2)
        mean, mean_square = sums[0] / 255, sums[1] / 255**2
        std = np.sqrt(np.maximum(mean_square - mean**2, 255**-2))
        return tuple(mean.tolist()), tuple(std.tolist())

    @cached_property
    def digest(self) -> str:
        """Tells these images from others: a hash of each one's label, and of its sums of levels and of their squares.

        It does not depend on names or times of files, but on DECODED_BY.
        """
        sums = np.load(self.cache / SUMS, mmap_mode="r")[self.rows]
        return hashlib.blake2b(sums.tobytes() + self.labels.tobytes(), digest_size=16).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        # A worker process opens the map itself: a pickle of it would be a copy of all pixels.
        return {name: value for name, value in vars(self).items() if name != "images"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.images = np.load(self.cache / PIXELS, mmap_mode="r")


def pack(
    files: ImageFiles,
    image_size: int,
    cache: Path,
    fill: Fill | None = None,
    on_bad_images: OnBadImages = "error",
) -> PackedImages:
    """Decode all images into a memory map, or open the one packed before if its source files have not changed.

    The cache is a folder that is renamed into place when it is complete. If packing is stopped, the next call goes on
    with what is done. Two processes must not pack into the same cache at once: hold a lock.

    Args:
        files: what to pack, in the order of the rows.
        image_size: side S of the packed images in pixels; `decode_image` says how others are resized.
        cache: folder for the packed images, created if it is missing; it must hold nothing else.
        fill: decodes the images into the array and returns their sums; None decodes image files.
        on_bad_images: whether images that can't be decoded are an error or are left out.

    Raises:
        UserError: images can't be decoded, all of a class if they are left out; or the cache can't be written.
    """
    meta = _meta(files, image_size)
    fault = _fault(cache, meta) or (_outdated(cache, files, image_size) if fill is None else None)
    if fault:
        if cache.exists():
            log.info(f"The packed images in {cache} can't be used, since {fault}; packing them again.")
        build(files, image_size, cache, meta, fill, on_bad_images)
    unreadable = read_json(cache / META).get(UNREADABLE, {})
    if on_bad_images == "error":
        refuse(unreadable, files, list_of_unreadable(cache))
    tell_skipped(unreadable, files, list_of_unreadable(cache))
    rows = readable_rows(unreadable, files)
    return PackedImages(cache, files, rows, files.labels[rows])


def _meta(files: ImageFiles, image_size: int) -> dict[str, Any]:
    """What meta.json must say in the cache of these files."""
    return {"format": FORMAT, "image_size": image_size, "images": len(files), "sources": files.digest}


def _fault(cache: Path, meta: dict[str, Any]) -> str | None:
    """Why a cache can't be used; None if it can."""
    try:
        found = read_json(cache / META)
        lengths = {name: os.path.getsize(cache / name) for name in (PIXELS, SUMS)}
    except (OSError, ValueError) as error:
        return f"they are incomplete ({error})"
    if not isinstance(found, dict) or found.pop("lengths", None) != lengths:
        return "their length has changed since they were packed"
    changed = [name for name, value in meta.items() if found.get(name) != value]
    if "format" in changed:
        return "they were packed by another version"
    if "image_size" in changed:
        return f"they are {found.get('image_size')} pixels wide, not {meta['image_size']}"
    if changed:
        return "their source files have changed"
    if found.get(UNREADABLE) and found.get("abilities") != abilities():
        return "some that were left out may be readable now"
    return None


def _outdated(cache: Path, files: ImageFiles, image_size: int) -> str | None:
    """Why an earlier decoder's pixels can't be used; if they can, this is noted, since finding out takes a while."""
    found = read_json(cache / META)
    if found.get("decoder", 1) == DECODER:
        return None
    with progress("checking packed images", len(files), "images") as advance:
        for name in files.names:
            if was_decoded_otherwise(os.path.join(files.folder, name), image_size):
                return f"images such as {name} are decoded better now"
            advance(1)
    with suppress(OSError):  # on a disk that is read-only, they are checked each time
        replace_text(cache / META, json.dumps(found | {"decoder": DECODER}))
    return None
