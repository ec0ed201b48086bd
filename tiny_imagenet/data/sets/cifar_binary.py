"""CIFAR-10's records: 1 byte of label, 3,072 of pixels each (https://www.cs.toronto.edu/~kriz/cifar.html).

The batches of the Python version have the names of the binary one here (`data_batch_1.bin`), so that the same images
are held out of both.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tiny_imagenet.data.fetch.archive import EXTRACT_AGAIN
from tiny_imagenet.data.images.pack_workers import image_sums, write_rows
from tiny_imagenet.data.images.scan import ImageFiles
from tiny_imagenet.data.sets.cifar_python import META, pickled_names, pickled_records
from tiny_imagenet.data.sets.tiny_imagenet_layout import Classes
from tiny_imagenet.errors import UserError, some

SIZE = 32  # pixels
RECORD = 1 + 3 * SIZE * SIZE  # bytes


def list_batches(folder: Path, pattern: str) -> list[str]:
    """The batches that match a pattern such as `data_batch_*`, sorted by their names."""
    names = [path.name for path in folder.glob(f"{pattern}.bin")]
    return sorted(names or [f"{path.name}.bin" for path in folder.glob(pattern) if not path.suffix])


def read_class_names(folder: Path) -> Classes:
    """The classes of batches.meta.txt, or of batches.meta, in the order of their labels; their ids are their names.

    Raises:
        UserError: the file can't be read, or does not list at least two different classes.
    """
    path = folder / "batches.meta.txt"
    if not path.exists() and (folder / META).exists():
        path = folder / META
    names = pickled_names(path) if path.name == META else _listed_names(path)
    if len(set(names)) < max(2, len(names)):
        raise UserError(f"{path} should list different classes, not {some(names) or 'none'}. {EXTRACT_AGAIN}")
    return Classes(names, names)


def _listed_names(path: Path) -> tuple[str, ...]:
    try:
        return tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read ({error}). It should list the classes. {EXTRACT_AGAIN}") from None


def scan_records(folder: Path, batches: Sequence[str], class_ids: tuple[str, ...]) -> ImageFiles:
    """The images of batch files, in their order; image n of data_batch_1.bin, from 0, is named `data_batch_1.bin#n`.

    Raises:
        UserError: a file is missing or has an incomplete record, or a label has no class.
    """
    names, labels, times = [], [], []
    for batch in batches:
        path = _file(folder, batch)
        found = _records(path)[:, 0].astype(np.int64)
        if wrong := np.flatnonzero(found >= len(class_ids)).tolist():
            raise UserError(
                f"{path}: record {wrong[0]} has label {found[wrong[0]]}; there are {len(class_ids)} classes. "
                f"{EXTRACT_AGAIN}"
            )
        names += [f"{batch}#{number}" for number in range(len(found))]
        labels.append(found)
        times.append(np.full(len(found), path.stat().st_mtime_ns))
    sizes = np.full(len(names), RECORD)
    return ImageFiles(folder, class_ids, names, np.concatenate(labels), sizes, np.concatenate(times))


def unpack_records(files: ImageFiles, image_size: int, path: Path) -> np.ndarray:
    """Copy the pixels of all records into the uint8 [N, 32, 32, 3] array of an existing .npy file.

    Returns:
        Sums of each image's pixels as in `decode_all`, int64 [N, 2, 3].
    """
    sums, start = [], 0
    for batch in dict.fromkeys(name.partition("#")[0] for name in files.names):
        planes = _records(_file(files.folder, batch))[:, 1:].reshape(-1, 3, SIZE, SIZE)
        pixels = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
        write_rows(path, start, pixels)
        sums.append(image_sums(pixels))
        start += len(pixels)
    return np.concatenate(sums)


def _file(folder: Path, batch: str) -> Path:
    """The file of a batch, of whichever version there is."""
    binary = folder / batch
    return binary if binary.exists() else binary.with_suffix("")


def _records(path: Path) -> np.ndarray:
    """The records of a file, uint8 [n, RECORD], n ≥ 1."""
    if not path.suffix:
        return pickled_records(path, RECORD - 1)
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}. {EXTRACT_AGAIN}") from None
    if len(content) == 0 or len(content) % RECORD:
        raise UserError(f"{path} has {len(content):,} bytes, not whole records of {RECORD:,}. {EXTRACT_AGAIN}")
    return content.reshape(-1, RECORD)
