"""Files that are never half written: beside, to the disk, then renamed."""

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a file as a whole, in place of what was there; the folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        to_disk(beside)
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        error.filename = error.filename or str(path)  # a full disk names none
        raise


def replace_text(path: Path, text: str) -> None:
    """As `replace_bytes`, in UTF-8; names of files that are not are written as they are."""
    replace_bytes(path, text.encode(errors="surrogateescape"))


def replace_csv(path: Path, columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write a CSV file as a whole, in place of what was there; a column that a row lacks is left empty."""
    replace_text(path, csv_text(columns, rows))


def csv_text(columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> str:
    """What `replace_csv` writes."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk: a power cut after a rename loses nothing."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
