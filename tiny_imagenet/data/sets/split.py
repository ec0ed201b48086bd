"""Which classes are used, and which training images are held out for validation: the same for every run."""

import hashlib
import os
from collections.abc import Sequence

import numpy as np

from tiny_imagenet.data.images.packed import PackedImages
from tiny_imagenet.data.images.scan import UNLABELLED
from tiny_imagenet.data.sets.tiny_imagenet_layout import Classes
from tiny_imagenet.errors import UserError, did_you_mean

# Not the seed of the run: runs that differ in their seed must be judged by the same images.
SPLIT_SEED = b"0"


def choose_classes(classes: Classes, chosen: int | list[str] | None) -> Classes:
    """The first `chosen` classes, or those with the ids `chosen`, sorted as in `classes`; null chooses all.

    Raises:
        UserError: there are fewer classes, or an id is unknown or given twice.
    """
    if chosen is None:
        return classes
    if isinstance(chosen, int):
        if not 2 <= chosen <= len(classes.ids):
            raise UserError(f"classes {chosen}: choose between 2 and the {len(classes.ids)} classes that there are.")
        return Classes(classes.ids[:chosen], classes.names[:chosen])
    for class_id in chosen:
        if class_id not in classes.ids:
            near = did_you_mean(class_id, classes.ids, listed=5)
            raise UserError(f"classes: there is no class {class_id!r} among the {len(classes.ids)}.{near}")
    if len(set(chosen)) < max(2, len(chosen)):
        raise UserError(f"classes: give at least two different class ids, each once, not {chosen}.")
    names = dict(zip(classes.ids, classes.names, strict=True))
    ids = tuple(class_id for class_id in classes.ids if class_id in chosen)
    return Classes(ids, tuple(names[class_id] for class_id in ids))


def of_classes(images: PackedImages, all_classes: Classes, classes: Classes) -> PackedImages:
    """The images of some classes, labelled by their place among these, of a set labelled by their place among all."""
    if classes.ids == all_classes.ids:
        return images
    label_of = np.full(len(all_classes.ids), UNLABELLED)
    label_of[[all_classes.ids.index(class_id) for class_id in classes.ids]] = np.arange(len(classes.ids))
    labels = label_of[images.labels]
    rows = np.flatnonzero(labels != UNLABELLED)
    return images.select(rows, labels[rows])


def split_holdout(names: Sequence[str], labels: np.ndarray, holdout: int | float) -> tuple[np.ndarray, np.ndarray]:
    """Divide the rows of a labelled set into those to train on and those held out, with equal shares of each class.

    Which of a class's images are held out depends on their names alone, so that an image that is added or removed
    later moves at most one or two others of its class, and no image that was trained on is tested on by surprise.

    Args:
        names: of the images, [N].
        labels: class of each row, int64 [N].
        holdout: number of images (int) or share of them (float below 1) to hold out.

    Returns:
        (training rows, held-out rows), both sorted int64, disjoint, together 0..N-1. Classes of equal size give equal
        numbers of held-out images, or numbers that differ by one where `holdout` does not divide evenly.

    Raises:
        UserError: nothing would be held out, or some class would have no training image left.
    """
    count = round(holdout * len(labels)) if isinstance(holdout, float) and holdout < 1 else int(holdout)
    if not 0 < count < len(labels):
        raise UserError(
            f"holdout {holdout} would hold out {count:,} of {len(labels):,} training images. Give a number below "
            f"{len(labels):,}, a share between 0 and 1 (--data.holdout 0.1), or 0 to validate on images of their own."
        )
    digests = (hashlib.blake2b(os.fsencode(name), digest_size=8, key=SPLIT_SEED).digest() for name in names)
    shuffled = np.argsort(np.frombuffer(b"".join(digests), ">u8"), kind="stable")
    by_class = [shuffled[labels[shuffled] == label] for label in np.unique(labels)]
    shares = _largest_remainder(np.array([len(rows) for rows in by_class]), count)
    if any(share == len(rows) for share, rows in zip(shares, by_class, strict=True)):
        raise UserError(f"holdout {holdout} would leave a class without training images; hold out fewer.")
    held_out = np.sort(np.concatenate([rows[:share] for rows, share in zip(by_class, shares, strict=True)]))
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def _largest_remainder(sizes: np.ndarray, count: int) -> np.ndarray:
    """Divide `count` in proportion to `sizes`: integers that sum to `count`, none further than 1 from its share."""
    exact = sizes * count / sizes.sum()
    shares = np.floor(exact).astype(int)
    # A stable sort, so that equal remainders go to the first classes on every machine.
    most_owed = np.argsort(shares - exact, kind="stable")[: count - shares.sum()]
    shares[most_owed] += 1
    return shares
