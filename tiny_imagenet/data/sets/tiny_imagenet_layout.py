"""The official layout of Tiny ImageNet: class ids and names, the validation folder, and the number of images.

http://cs231n.stanford.edu/tiny-imagenet-200.zip has wnids.txt, words.txt, train/<wnid>/<wnid>_boxes.txt and
train/<wnid>/images/, val/val_annotations.txt and val/images/, and test/images/.
"""

import codecs
import os
import re
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path

import numpy as np

from tiny_imagenet.data.fetch.archive import EXTRACT_AGAIN
from tiny_imagenet.data.images.scan import ImageFiles, is_image
from tiny_imagenet.errors import UserError, some
from tiny_imagenet.files import disk_errors

CLASS_IDS = "wnids.txt"
ANNOTATIONS = "val_annotations.txt"
CLASS_ID = re.compile(r"\w[\w.-]{0,59}")  # it names a folder, whose name may have 255 bytes
# File, class id and four box coordinates. A file name with a separator could lead out of the folder.
ANNOTATION = re.compile(r"(?!\.\.?\t)([^\t/\\\0]+)\t([^\t]+)(?:\t-?\d+){4}")
# In the official archive: classes, training and validation images of each class, and test images in all.
OFFICIAL = {"classes": 200, "train": 500, "val": 50, "test": 10_000}


@dataclass(frozen=True)
class Classes:
    """Classes in the order of their labels: sorted `ids`, and their names."""

    ids: tuple[str, ...]
    names: tuple[str, ...]


def read_classes(folder: Path) -> Classes:
    """The classes of wnids.txt, sorted, with their names from words.txt; a class without one is named by its id.

    Raises:
        UserError: wnids.txt is missing or empty, repeats an id, or has one that can't name a folder.
    """
    ids = _class_ids(folder)
    words = dict.fromkeys(ids, "")
    with suppress(FileNotFoundError):
        # It has 80,000 lines, of which 200 are needed.
        for line in (folder / "words.txt").read_text(encoding="utf-8-sig", errors="replace").splitlines():
            class_id, _, name = line.partition("\t")
            if class_id in words:
                words[class_id] = name.strip()
    return Classes(ids, tuple(words[class_id] or class_id for class_id in ids))


def restructure_validation(folder: Path) -> None:
    """Move val/images/*.JPEG to val/<class id>/images/, as in train/, by val_annotations.txt, which is kept.

    Does nothing if this is already done. Everything is checked before anything is moved, and files are moved one by
    one, so that after a kill half way the next call finishes.

    Raises:
        UserError: an annotation is malformed, or its class is unknown or its image missing; an image has no annotation,
            or would replace another one; the disk is full or read-only.
    """
    images = folder / "val" / "images"
    if not images.is_dir():
        return
    path = folder / "val" / ANNOTATIONS
    class_of = read_annotations(path, _class_ids(folder))
    waiting = {name for name in os.listdir(images) if is_image(name)}
    targets = {class_id: folder / "val" / class_id / "images" for class_id in set(class_of.values())}
    moved = {class_id: set(os.listdir(target)) if target.is_dir() else set() for class_id, target in targets.items()}
    if unlabelled := sorted(waiting - class_of.keys()):
        raise UserError(
            f"{path} has no line for {some(unlabelled)} in {images}. Remove what does not belong there, or extract "
            f"the archive again: delete {folder} and start again."
        )
    if missing := [name for name in class_of if name not in waiting and name not in moved[class_of[name]]]:
        raise UserError(
            f"{images} lacks {some(missing)}, listed in {path.name}. Extract the archive again: delete {folder} and "
            "start again."
        )
    both = [name for name in waiting if name in moved[class_of[name]]]
    if differing := [name for name in both if not cmp(images / name, targets[class_of[name]] / name, shallow=False)]:
        raise UserError(
            f"{images} and the folders of its classes have different images of the same name: "
            f"{some(sorted(differing))}. Remove the wrong ones, or extract the archive again."
        )
    with disk_errors(folder / "val"):
        for target in targets.values():
            target.mkdir(parents=True, exist_ok=True)
        for name in waiting:
            os.replace(images / name, targets[class_of[name]] / name)
    # A file that is not an image (Thumbs.db) stays, and so does the folder.
    with suppress(OSError):
        images.rmdir()


def read_annotations(path: Path, class_ids: Collection[str]) -> dict[str, str]:
    """The class id of each file that val_annotations.txt lists.

    A line has a file, its class id and four box coordinates, separated by tabs.

    Raises:
        UserError: the file can't be read, a line is malformed, a class is unknown, or a file is listed twice.
    """
    try:
        lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()
    except OSError as error:
        raise UserError(
            f"{path} can't be read: {error.strerror}. It has the labels of val/images: extract the archive again."
        ) from None
    known, class_of = set(class_ids), {}
    malformed, unknown, repeated = [], [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = ANNOTATION.fullmatch(line.decode("utf-8", errors="replace"))
        if match is None or "\ufffd" in match[0]:
            malformed.append(f"line {number} ({line[:60]!r})")
            continue
        name, class_id = match.groups()
        if class_id not in known:
            unknown.append(f"line {number} ({class_id[:60]})")
        if name in class_of:
            repeated.append(f"line {number} ({name[:60]})")
        class_of[name] = class_id
    for what, where in (
        ("must have a file, a class id and four numbers, separated by tabs", malformed),
        ("must have a class id from wnids.txt", unknown),
        ("must not repeat a file", repeated),
    ):
        if where:
            raise UserError(f"{path}: {some(where)} {what}. Correct the file, or extract the archive again.")
    return class_of


def check_counts(files: ImageFiles, split: str, official: bool = False) -> None:
    """Check that a split (`train`, `val`, `test`) has all images that its annotations list.

    Args:
        files: what was found in the split's folder.
        official: whether it is the official archive's, and so must have 200 classes of 500 training and 50 validation
            images, and 10,000 unlabelled ones.

    Raises:
        UserError: a class has fewer images than it should; missing ones are named.
    """
    listed = _listed_files(files, split)
    found = np.bincount(files.labels[files.labels >= 0], minlength=len(files.class_ids)).tolist()
    least = OFFICIAL[split] if official else 0
    short = []
    for class_id, number in zip(files.class_ids, found, strict=True):
        lines = listed.get(class_id, [])
        expected = max(least, len(lines))
        if number < expected:
            missing = {os.fsdecode(line.split(b"\t")[0]) for line in lines} - files.names_of(class_id)
            named = f" ({some(sorted(missing))} missing)" if missing else ""
            short.append(f"{class_id} has {number} of {expected}{named}")
    if short:
        raise UserError(f"{files.folder}: images are missing: {some(short, 3)}. {EXTRACT_AGAIN}")
    if official and split != "test" and len(found) != OFFICIAL["classes"]:
        raise UserError(f"{files.folder} has {len(found)} of {OFFICIAL['classes']} classes. {EXTRACT_AGAIN}")
    if official and split == "test" and len(files) < least:
        raise UserError(f"{files.folder} has {len(files):,} of {least:,} images. {EXTRACT_AGAIN}")


def _listed_files(files: ImageFiles, split: str) -> dict[str, list[bytes]]:
    """The annotation lines of each class, cut after the file's name for `val`; {} without annotations."""
    listed: dict[str, list[bytes]] = {}
    if split == "train":
        for class_id in files.class_ids:
            with suppress(FileNotFoundError):
                listed[class_id] = (files.folder / class_id / f"{class_id}_boxes.txt").read_bytes().splitlines()
    elif split == "val" and (path := files.folder / ANNOTATIONS).exists():
        # Of all classes, while the files may be of some.
        for name, class_id in read_annotations(path, _class_ids(files.folder.parent)).items():
            listed.setdefault(class_id, []).append(os.fsencode(name))
    return listed


def _class_ids(folder: Path) -> tuple[str, ...]:
    """The ids of wnids.txt, sorted, as the file is not."""
    path = folder / CLASS_IDS
    try:
        ids = path.read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(
            f"{path} can't be read: {reason}. It should list the class ids, one per line. Is {folder} the folder of "
            "train/, val/ and test/? For a plain folder of class folders use --data ImageFolderDataModule."
        ) from None
    if not ids:
        raise UserError(f"{path} is empty: it should list the class ids, one per line. Extract the archive again.")
    if wrong := [class_id for class_id in ids if not CLASS_ID.fullmatch(class_id)]:
        raise UserError(f"{path}: {some(wrong)} can't be a class id, which is the name of a folder. Correct the file.")
    if twice := [class_id for class_id, times in Counter(ids).items() if times > 1]:
        raise UserError(f"{path} lists {some(twice)} more than once. Correct the file, or extract the archive again.")
    return tuple(sorted(ids))
