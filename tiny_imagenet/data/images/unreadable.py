"""Images that can't be decoded: all of them are named, and refused or left out."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from tiny_imagenet.data.images.scan import ImageFiles
from tiny_imagenet.errors import UserError, some
from tiny_imagenet.files import replace_csv

log = logging.getLogger(__name__)

OnBadImages = Literal["error", "skip"]
COLUMNS = ("file", "reason")
NAMED, REASONS = 5, 3  # names of each reason, and reasons, in a message; a file lists all


def refuse(unreadable: Mapping[str, str], files: ImageFiles, listed: Path) -> None:
    """Raise UserError if there are unreadable images; if they are too many for its message, `listed` lists them.

    Args:
        unreadable: why each can't be read, by name.
    """
    if not unreadable:
        return
    (first, reason), *others = unreadable.items()
    what, where = f"{files.folder / first} can't be decoded: {reason}.", ""
    if others:
        what = f"{len(unreadable):,} of {len(files):,} images in {files.folder} can't be decoded: {named(unreadable)}."
    if len(unreadable) > NAMED:
        write_list(unreadable, listed)
        where = f" All are listed in {listed}."
    it, came = ("them", "they came") if others else ("it", "it came")
    raise UserError(
        f"{what}{where} Replace or remove {it}, or leave {it} out with --data.on_bad_images skip; if {came} from an "
        "archive, delete the extracted folder and start again."
    )


def named(unreadable: Mapping[str, str]) -> str:
    """The first few of each reason, and how many there are: a.jpg, b.jpg (image file is truncated); c.jpg (…)"""
    of_reason: dict[str, list[str]] = {}
    for name, reason in unreadable.items():
        of_reason.setdefault(reason, []).append(name)
    groups = [f"{some(names, NAMED)} ({reason})" for reason, names in of_reason.items()]
    return "; ".join(groups[:REASONS]) + ("; and for other reasons" if len(groups) > REASONS else "")


def readable_rows(unreadable: Mapping[str, str], files: ImageFiles) -> np.ndarray:
    """The rows of the images that can be read, int64 [M].

    Raises:
        UserError: a class, or the whole set, has none.
    """
    if not unreadable:
        return np.arange(len(files))
    rows = np.array([row for row, name in enumerate(files.names) if name not in unreadable], np.int64)
    empty = [files.class_ids[label] for label in np.setdiff1d(files.labels, files.labels[rows]) if label >= 0]
    if empty or not len(rows):
        what = f"of class {some(empty)} " if empty else ""
        raise UserError(f"{files.folder}: no image {what}can be decoded: {named(unreadable)}. Replace the files.")
    return rows


def tell_skipped(unreadable: Mapping[str, str], files: ImageFiles, listed: Path) -> None:
    """Log which images are left out."""
    if unreadable:
        log.warning(
            f"{len(unreadable):,} of {len(files):,} images in {files.folder} can't be decoded and are left out: "
            f"{some(unreadable, NAMED)}. {listed} says why."
        )


def write_list(unreadable: Mapping[str, str], listed: Path) -> None:
    """Write a CSV file of the unreadable images and the reasons; without any, an earlier one is removed."""
    if unreadable:
        replace_csv(listed, COLUMNS, ({"file": name, "reason": reason} for name, reason in unreadable.items()))
    else:
        listed.unlink(missing_ok=True)
