"""The official layout of Tiny ImageNet: class ids and names, the validation folder, and the number of images.

http://cs231n.stanford.edu/tiny-imagenet-200.zip has wnids.txt, words.txt, train/<wnid>/<wnid>_boxes.txt and
train/<wnid>/images/, val/val_annotations.txt and val/images/, and test/images/.
"""

import os
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path

import numpy as np

from tiny_imagenet.data.fetch.archive import EXTRACT_AGAIN
from tiny_imagenet.data.images.scan import ImageFiles, is_image, is_system_folder
from tiny_imagenet.data.sets.folder_content import holding
from tiny_imagenet.data.sets.val_labels import labels_file, read_labels
from tiny_imagenet.errors import UserError, some
from tiny_imagenet.files import disk_errors

CLASS_IDS = "wnids.txt"
CLASS_ID = re.compile(r"\w[\w.-]{0,59}")  # it names a folder, whose name may have 255 bytes
WORDNET_ID = re.compile(r"n\d{8}")  # of the official classes
# In the official archive: classes, training and validation images of each class, and test images in all.
OFFICIAL = {"classes": 200, "train": 500, "val": 50, "test": 10_000}


@dataclass(frozen=True)
class Classes:
    """Classes in the order of their labels: sorted `ids`, and their names."""

    ids: tuple[str, ...]
    names: tuple[str, ...]


def layout_in(folder: Path) -> Path:
    """The folder itself, or the one in it, that has wnids.txt, or else train/."""
    found = holding(folder, CLASS_IDS)
    return found if (found / CLASS_IDS).exists() else holding(folder, "train")


def read_classes(folder: Path) -> Classes:
    """The classes of wnids.txt, sorted, with their names from words.txt; a class without one is named by its id.

    Without wnids.txt they are the folders of train/, if these are all named as the official ones.

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

    Copies may have val/*.JPEG and a CSV file; see `labels_file`. Does nothing if this is already done. Everything is
    checked before anything is moved, and files are moved one by one, so that after a kill half way the next call
    finishes.

    Raises:
        UserError: an annotation is malformed, or its class is unknown or its image missing; an image has no annotation,
            or would replace another one; the disk is full or read-only.
    """
    val, path = folder / "val", labels_file(folder)
    images = val / "images"
    if images.is_dir():
        waiting = {name for name in os.listdir(images) if is_image(name)}
        if waiting or path.exists():  # in a copy, an empty folder may be left
            _move(images, waiting, path, folder)
            # A file that is not an image (Thumbs.db) stays, and so does the folder.
            with suppress(OSError):
                images.rmdir()
    elif waiting := _images_without_folder(val, path, folder):
        _move(val, waiting, path, folder)


def _images_without_folder(val: Path, path: Path, folder: Path) -> set[str]:
    """The images in val/ itself; none if those with labels are in class folders already, or there are no labels."""
    with suppress(FileNotFoundError), os.scandir(val) as entries:
        found = list(entries)
        images = {entry.name for entry in found if is_image(entry.name) and entry.is_file()}
        if images and (path.exists() or not any(entry.is_dir() for entry in found)):
            class_of = read_labels(path, _class_ids(folder))
            images = {name for name in images if not (val / class_of.get(name, "") / "images" / name).exists()}
            return images if images & class_of.keys() else set()
    return set()


def _move(images: Path, waiting: set[str], path: Path, folder: Path) -> None:
    class_of = read_labels(path, _class_ids(folder))
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
    elif split == "val" and (path := labels_file(files.folder.parent)).exists():
        # Of all classes, while the files may be of some.
        for name, class_id in read_labels(path, _class_ids(files.folder.parent)).items():
            listed.setdefault(class_id, []).append(os.fsencode(name))
    return listed


def _class_ids(folder: Path) -> tuple[str, ...]:
    """The ids of wnids.txt, sorted, as the file is not."""
    path = folder / CLASS_IDS
    if not path.exists() and (ids := _folder_ids(folder / "train")):
        return ids
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


def _folder_ids(train: Path) -> tuple[str, ...]:
    """The class ids of a copy without wnids.txt: its folders, if all are named by ids of WordNet, or else none."""
    folders = [path.name for path in train.iterdir() if path.is_dir()] if train.is_dir() else []
    names = sorted(name for name in folders if not is_system_folder(name))
    return tuple(names) if all(map(WORDNET_ID.fullmatch, names)) else ()
