"""CIFAR-10's binary records, one byte of label and 3,072 of pixels each (https://www.cs.toronto.edu/~kriz/cifar.html)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tiny_imagenet.data.images.pack_workers import image_sums, write_rows
from tiny_imagenet.data.images.scan import ImageFiles
from tiny_imagenet.data.sets.tiny_imagenet_layout import Classes
from tiny_imagenet.errors import UserError

SIZE = 32  # pixels
RECORD = 1 + 3 * SIZE * SIZE  # bytes
AGAIN = "Delete the folder and start again, so that the archive is extracted anew."


def read_class_names(path: Path) -> Classes:
    """The classes of batches.meta.txt, one a line in the order of their labels, which are their own ids.

    Raises:
        UserError: the file can't be read, or does not list two different classes or more.
    """
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read ({error}): it lists the classes of CIFAR-10. {AGAIN}") from None
    if len(set(names)) < max(2, len(names)):
        raise UserError(f"{path} should list different classes, one a line, not {', '.join(names) or 'none'}. {AGAIN}")
    return Classes(names, names)


def scan_records(folder: Path, batches: Sequence[str], class_ids: tuple[str, ...]) -> ImageFiles:
    """The images of batch files, in their order; the n-th of data_batch_1.bin is named `data_batch_1.bin#n`, from 0.

    Raises:
        UserError: a file is missing or not of whole records, or a label is not that of a class.
    """
    names, labels, times = [], [], []
    for batch in batches:
        path = folder / batch
        found = _records(path)[:, 0].astype(np.int64)
        if wrong := np.flatnonzero(found >= len(class_ids)).tolist():
            raise UserError(
                f"{path}: record {wrong[0]} has label {found[wrong[0]]}; there are {len(class_ids)} classes. {AGAIN}"
            )
        names += [f"{batch}#{number}" for number in range(len(found))]
        labels.append(found)
        times.append(np.full(len(found), path.stat().st_mtime_ns))
    sizes = np.full(len(names), RECORD)
    return ImageFiles(folder, class_ids, names, np.concatenate(labels), sizes, np.concatenate(times))


def unpack_records(files: ImageFiles, image_size: int, path: Path) -> np.ndarray:
    """Copy the pixels of all records to the uint8 [N, 32, 32, 3] array of an .npy file that is there already.

    Returns:
        Sums over the pixels of each image, as `decode_all` does: int64 [N, 2, 3].
    """
    sums, start = [], 0
    for batch in dict.fromkeys(name.partition("#")[0] for name in files.names):
        planes = _records(files.folder / batch)[:, 1:].reshape(-1, 3, SIZE, SIZE)
        pixels = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
        write_rows(path, start, pixels)
        sums.append(image_sums(pixels))
        start += len(pixels)
    return np.concatenate(sums)


def _records(path: Path) -> np.ndarray:
    """The records of a file, uint8 [n, RECORD], n ≥ 1."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}. {AGAIN}") from None
    if len(content) == 0 or len(content) % RECORD:
        raise UserError(f"{path} has {len(content):,} bytes, not whole records of {RECORD:,}. {AGAIN}")
    return content.reshape(-1, RECORD)
