"""Which classes to use, and which training images to hold out for validation: the same in every run."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tiny_imagenet.data.images.packed import PackedImages
from tiny_imagenet.data.images.scan import UNLABELLED
from tiny_imagenet.data.sets.tiny_imagenet_layout import Classes
from tiny_imagenet.errors import UserError, did_you_mean

# Not the seed of the run: runs with different seeds must be validated on the same images.
SPLIT_SEED = b"0"


def choose_classes(classes: Classes, chosen: int | list[str | int] | None) -> Classes:
    """The first `chosen` classes, or those with the ids `chosen`, sorted as in `classes`; null chooses all.

    Integers, which YAML reads from ids such as 10, stand for their text.

    Raises:
        UserError: there are fewer classes, or an id is unknown or given twice.
    """
    if chosen is None:
        return classes
    if isinstance(chosen, int):
        if not 2 <= chosen <= len(classes.ids):
            raise UserError(f"classes {chosen}: choose a number between 2 and {len(classes.ids)} (all classes).")
        return Classes(classes.ids[:chosen], classes.names[:chosen])
    chosen = [str(class_id) for class_id in chosen]
    for class_id in chosen:
        if class_id not in classes.ids:
            near = did_you_mean(class_id, classes.ids, listed=5)
            raise UserError(f"classes: there is no class {class_id!r} among the {len(classes.ids)}.{near}")
    if len(set(chosen)) < max(2, len(chosen)):
        raise UserError(f"classes: give at least two different class ids, each once, not {chosen}.")
    names = dict(zip(classes.ids, classes.names, strict=True))
    ids = tuple(class_id for class_id in classes.ids if class_id in chosen)
    return Classes(ids, tuple(names[class_id] for class_id in ids))


def of_classes(images: PackedImages, class_ids: tuple[str, ...]) -> PackedImages:
    """The images of these classes, labelled by position in `class_ids`, from a set that has more classes."""
    packed_ids = images.files.class_ids
    if class_ids == packed_ids:
        return images
    label_of = np.full(len(packed_ids), UNLABELLED)
    label_of[[packed_ids.index(class_id) for class_id in class_ids]] = np.arange(len(class_ids))
    labels = label_of[images.labels]
    rows = np.flatnonzero(labels != UNLABELLED)
    return images.select(rows, labels[rows])


def cache_name(name: str, folder: Path, classes: Classes | None) -> tuple[str, bool]:
    """The name under which a split is packed, and whether that holds some classes only.

    Args:
        name: of the split with all classes.
        folder: of the packed splits. Where all classes are packed already, some are read from there.
        classes: those in use; None if all are.
    """
    if classes is None or (folder / name).exists():
        return name, False
    digest = hashlib.blake2b("\0".join(classes.ids).encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
    return f"{name}-{len(classes.ids)}-classes-{digest}", True


def split_holdout(names: Sequence[str], labels: np.ndarray, holdout: int | float) -> tuple[np.ndarray, np.ndarray]:
    """Split the rows of a labelled set into training and held-out rows, stratified by class.

    Which images of a class are held out depends only on their names. So an image that is added or removed later moves
    at most one or two others of its class, and hardly any training image becomes a validation image.

    Args:
        names: of the images, [N].
        labels: class of each row, int64 [N].
        holdout: number (int) or fraction (float below 1) of the images to hold out.

    Returns:
        (training rows, held-out rows), both sorted int64, disjoint, together 0..N-1. Classes of equal size have equal
        numbers of held-out images, or numbers that differ by one if `holdout` does not divide evenly.

    Raises:
        UserError: nothing would be held out, or a class would have no training images left.
    """
    count = round(holdout * len(labels)) if isinstance(holdout, float) and holdout <= 1 else int(holdout)
    if not 0 < count < len(labels):
        raise UserError(
            f"holdout {holdout} would hold out {count:,} of {len(labels):,} training images. Give a number below "
            f"{len(labels):,}, a fraction between 0 and 1 (--data.holdout 0.1), or 0 to validate on another split."
        )
    digests = (hashlib.blake2b(os.fsencode(name), digest_size=8, key=SPLIT_SEED).digest() for name in names)
    shuffled = np.argsort(np.frombuffer(b"".join(digests), ">u8"), kind="stable")
    _, sizes = np.unique(labels, return_counts=True)
    by_class = np.split(shuffled[np.argsort(labels[shuffled], kind="stable")], np.cumsum(sizes)[:-1])
    counts = _largest_remainder(sizes, count)
    if any(number == len(rows) for number, rows in zip(counts, by_class, strict=True)):
        raise UserError(f"holdout {holdout} would leave a class without training images; hold out fewer.")
    held_out = np.sort(np.concatenate([rows[:number] for rows, number in zip(by_class, counts, strict=True)]))
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def _largest_remainder(sizes: np.ndarray, count: int) -> np.ndarray:
    """Divide `count` in proportion to `sizes`: integers that sum to `count`, each within 1 of its exact part."""
    exact = sizes * count / sizes.sum()
    counts = np.floor(exact).astype(int)
    # A stable sort, so that among equal remainders the first classes win on every machine.
    largest = np.argsort(counts - exact, kind="stable")[: count - counts.sum()]
    counts[largest] += 1
    return counts
