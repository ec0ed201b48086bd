"""Makes a pack: decodes all images, refuses or notes those that can't be read, and says what a full disk needs."""

import json
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tiny_imagenet.data.images.decode import DECODER, abilities
from tiny_imagenet.data.images.pack_workers import write_rows
from tiny_imagenet.data.images.scan import ImageFiles
from tiny_imagenet.data.images.unfinished import DONE, PIXELS, SUMS, Unfinished, packed_bytes
from tiny_imagenet.data.images.unreadable import OnBadImages, named, readable_rows, refuse, write_list
from tiny_imagenet.errors import UserError
from tiny_imagenet.files import continuing, require_free, size_text

log = logging.getLogger(__name__)

META = "meta.json"
UNREADABLE = "unreadable"  # in meta.json: why images are left out, by name
Fill = Callable[[ImageFiles, int, Path], np.ndarray]


def build(
    files: ImageFiles, image_size: int, cache: Path, meta: dict[str, Any], fill: Fill | None, on_bad_images: OnBadImages
) -> None:
    """Pack images into the folder `cache`, in place of what was packed there, or go on where this was stopped.

    Args:
        meta: what meta.json says of the files.
        others: see `pack`.

    Raises:
        UserError: see `pack`.
    """
    work = None
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        _remove(cache)
        with continuing(cache) as beside:
            work = Unfinished(beside, files, image_size)
            require_free(cache.parent, work.bytes_left)
            work.allocate()
            if fill is None:
                work.decode()
            else:
                write_rows(beside / SUMS, 0, fill(files, image_size, beside / PIXELS))
            unreadable = work.unreadable
            if on_bad_images == "error":
                refuse(unreadable, files, list_of_unreadable(cache))
            if work.passing:  # What is left out is left out later too.
                raise UserError(
                    f"{len(work.passing):,} of {len(files):,} images in {files.folder} can't be read now: "
                    f"{named({name: unreadable[name] for name in work.passing})}. The fault may not be theirs, so they "
                    "are not left out. Make them readable, or remove them, and start again."
                )
            readable_rows(unreadable, files)
            write_list(unreadable, list_of_unreadable(cache))
            meta["decoder"] = DECODER
            if unreadable:
                meta |= {UNREADABLE: unreadable, "abilities": abilities()}
            lengths = {name: os.path.getsize(beside / name) for name in (PIXELS, SUMS)}
            (beside / META).write_text(json.dumps(meta | {"lengths": lengths}), encoding="utf-8")
            _tell_ranges(work.ranges, files.folder)
        with suppress(OSError):  # the pack is whole
            (cache / DONE).unlink()
    except OSError as error:
        if work is None or not work.images_done:
            needed = size_text(packed_bytes(len(files), image_size))
            advice = f"Packing needs {needed} in a writable folder; choose another --data.root, or free some space."
        else:
            advice = (
                f"{work.images_done:,} of {len(files):,} images are packed, and the rest needs "
                f"{size_text(work.bytes_left)}. Free some space and start again to go on; or delete {work.folder} and "
                "choose another --data.root."
            )
        raise UserError(
            f"The images of {files.folder} can't be packed at {error.filename or cache}: {error.strerror or error}. "
            f"{advice}"
        ) from None


def list_of_unreadable(cache: Path) -> Path:
    """The file beside the cache that lists the images that are not in it."""
    return cache.with_name(f"{cache.name}.unreadable.csv")


def _tell_ranges(ranges: Mapping[str, int], folder: Path) -> None:
    for levels, images in ranges.items():
        log.info(
            f"{images:,} image(s) in {folder} have more than 8 bits a channel and do not say in which range: read as "
            f"{levels}."
        )


def _remove(cache: Path) -> None:
    """Remove a cache, but no file that does not belong to it."""
    if cache.exists():
        for name in (PIXELS, SUMS, META, DONE):
            (cache / name).unlink(missing_ok=True)
        cache.rmdir()
