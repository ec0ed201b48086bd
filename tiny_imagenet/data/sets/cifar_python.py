"""CIFAR-10's Python version: pickled batches, with the records of the binary version (the same page)."""

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from tiny_imagenet.data.fetch.archive import EXTRACT_AGAIN
from tiny_imagenet.data.sets.plain_pickle import load_plain
from tiny_imagenet.errors import UserError

log = logging.getLogger(__name__)

META = "batches.meta"
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def pickled_names(path: Path) -> tuple[str, ...]:
    """The class names of batches.meta, in the order of their labels; CIFAR-10's if it has none.

    Raises:
        UserError: the file can't be read, or has other content.
    """
    names = _load(path).get("label_names")
    if names is None:
        log.info(f"{path} has no label_names: the classes are taken for those of CIFAR-10.")
        return CIFAR10
    names = [name.decode(errors="replace") if isinstance(name, bytes) else name for name in names]
    if not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: label_names should be a list of names. {EXTRACT_AGAIN}")
    return tuple(names)


def pickled_records(path: Path, pixels: int) -> np.ndarray:
    """The images of a batch as the binary version has them: uint8 [n, 1 + pixels], the label first.

    Raises:
        UserError: the file can't be read, or its labels and pixels do not fit.
    """
    batch = _load(path)
    data, labels = batch.get("data"), batch.get("labels")
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != pixels or len(data) == 0:
        raise UserError(f"{path}: data should be an array of bytes [images, {pixels:,}]. {EXTRACT_AGAIN}")
    if not isinstance(labels, list) or len(labels) != len(data) or not all(map(_is_label, labels)):
        raise UserError(f"{path}: labels should be a list of {len(data):,} numbers from 0 to 255. {EXTRACT_AGAIN}")
    return np.concatenate([np.array(labels, np.uint8)[:, None], data], axis=1)


def _is_label(label: Any) -> bool:
    return type(label) is int and 0 <= label <= 255


def _load(path: Path) -> dict[Any, Any]:
    try:
        return load_plain(path)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}. {EXTRACT_AGAIN}") from None
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} is no batch of CIFAR-10's Python version: {error}. {EXTRACT_AGAIN}") from None
