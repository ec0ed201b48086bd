"""Tiny ImageNet as Parquet files, as Hugging Face keeps it: unpacked once into the official layout. Needs pyarrow."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tiny_imagenet.data.fetch.unpacked_size import most_unpacked, require_no_bomb
from tiny_imagenet.data.sets.tiny_imagenet_layout import CLASS_ID, CLASS_IDS
from tiny_imagenet.errors import UserError, some
from tiny_imagenet.files import disk_errors, read_json, remove_leftovers, replacing
from tiny_imagenet.progress import progress

log = logging.getLogger(__name__)

UNPACKED = "unpacked"  # the folder, and in it the files that it came from
RECORD = ".parquet.json"
SPLITS = {"train": "train", "valid": "val", "validation": "val", "val": "val"}
ROWS = 1000  # that are read at once


def parquet_files(folder: Path) -> dict[str | None, list[Path]]:
    """The Parquet files of each split (`train`, `val`, or None), in a folder or its data/, sorted by their names."""
    found: dict[str | None, list[Path]] = {}
    for path in sorted({*folder.glob("*.parquet"), *folder.glob("data/*.parquet")}):
        found.setdefault(SPLITS.get(re.split(r"[-_.]", path.name.lower())[0]), []).append(path)
    return found


def unpack_parquet(folder: Path) -> Path:
    """Write the images of a folder's Parquet files to unpacked/ in it, in the official layout; return that.

    Each has a column `image` of {bytes, path} and one `label`, whose class ids Hugging Face keeps in the file. Does
    nothing if this is already done from the same files.

    Raises:
        UserError: pyarrow is not installed; a split or a column is missing; a label has no class; an image is empty;
            the images take more than `most_unpacked` allows; the disk is full or read-only.
    """
    files, target = parquet_files(folder), folder / UNPACKED
    if others := files.pop(None, []):
        log.info(f"{folder}: left out {some(path.name for path in others)}, of no split to train or validate on.")
    if missing := {"train", "val"} - files.keys():
        raise UserError(f"{folder} has no Parquet file of {some(sorted(missing))} images, {min(missing)}-….parquet.")
    record = {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for paths in files.values() for path in paths}
    if _record(target) == record:
        return target
    if target.exists() and _record(target) is None:
        raise UserError(f"{target} exists already, but was not written by this program. Move it away.")
    with disk_errors(target, sum(size for size, _ in record.values())):
        remove_leftovers(target)
        with replacing(target) as beside:
            beside.mkdir()
            _write(files, beside)
            (beside / RECORD).write_text(json.dumps(record), encoding="utf-8")
    log.info(f"{folder}: unpacked {', '.join(record)} into {target}.")
    return target


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        return read_json(folder / RECORD)
    except FileNotFoundError:
        return None
    except ValueError:
        return {}


def _write(files: dict[str, list[Path]], folder: Path) -> None:
    ids, unpacked = None, 0
    most = most_unpacked(sum(path.stat().st_size for paths in files.values() for path in paths))
    for split, paths in files.items():
        number = 0
        for path in paths:
            found, rows, total = _opened(path)
            if ids not in (None, found):
                raise UserError(f"{path} has other classes than the files before it.")
            ids = found
            with progress(f"unpacking {path.name}", total, "images") as advance:
                for content, label in rows:
                    if not isinstance(content, bytes) or not content:
                        raise UserError(f"{path}: image {number} has no bytes.")
                    if not isinstance(label, int) or not 0 <= label < len(ids):
                        raise UserError(f"{path}: image {number} has label {label}; there are {len(ids)} classes.")
                    unpacked += len(content)
                    require_no_bomb(path, unpacked, most)
                    home = folder / split / ids[label] / "images"
                    if not home.exists():
                        home.mkdir(parents=True)
                    # Read by its content: the extension only says that it is an image.
                    (home / f"{split}_{number:06}.JPEG").write_bytes(content)
                    number += 1
                    advance(1)
    (folder / CLASS_IDS).write_text("\n".join(ids) + "\n", encoding="utf-8")


def _opened(path: Path) -> tuple[list[str], Iterator[tuple[Any, Any]], int]:
    """The class ids of a file, its images' bytes and labels, and their number."""
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise UserError(f"{path} is read with pyarrow, which is not installed: pip install pyarrow") from None
    try:
        file = ParquetFile(path)
        schema = file.schema_arrow
        if not {"image", "label"} <= set(schema.names):
            raise UserError(f"{path} should have the columns image and label, but has {some(schema.names)}.")
        return _class_ids(path, schema.metadata or {}), _rows(path, file), file.metadata.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is no Parquet file that can be read: {error}. Download it again.") from None


def _class_ids(path: Path, metadata: dict[bytes, bytes]) -> list[str]:
    """The ids of the classes, in the order of the file's labels, from what Hugging Face keeps in its schema."""
    try:
        ids = json.loads(metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{path} has no names for its labels, as Hugging Face keeps them (huggingface, info.features.label.names)."
        ) from None
    if not isinstance(ids, list) or not all(isinstance(each, str) and CLASS_ID.fullmatch(each) for each in ids):
        raise UserError(f"{path}: {some(ids)} can't be class ids, which are the names of folders.")
    if len(set(ids)) < max(2, len(ids)):
        raise UserError(f"{path} should have at least two different classes, not {some(ids)}.")
    return ids


def _rows(path: Path, file: Any) -> Iterator[tuple[Any, Any]]:
    import pyarrow

    try:
        for batch in file.iter_batches(ROWS, columns=["image", "label"]):
            images, labels = batch.column("image").to_pylist(), batch.column("label").to_pylist()
            for image, label in zip(images, labels, strict=True):
                yield image.get("bytes") if isinstance(image, dict) else image, label
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is damaged: {error}. Download it again.") from None
