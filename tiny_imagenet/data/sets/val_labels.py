"""The class of each validation image in the official layout: from val_annotations.txt, or from a copy's CSV file."""

import codecs
import csv
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from tiny_imagenet.data.sets.folder_content import has_loose_images
from tiny_imagenet.errors import UserError, some

ANNOTATIONS = "val_annotations.txt"
# File, class id and four box coordinates. A file name with a separator could lead out of the folder.
ANNOTATION = re.compile(r"(?!\.\.?\t)([^\t/\\\0]+)\t([^\t]+)(?:\t-?\d+){4}")
# The columns of a CSV file.
FILES = ("file", "filename", "file_name", "image", "image_name", "path")
LABELS = ("label", "class", "class_id", "wnid", "target", "category")
Line = tuple[int, str, tuple[str, str] | None]  # number, text, and file and class id; None if it is malformed


def labels_file(folder: Path) -> Path:
    """The file with the labels of folder/val/: val_annotations.txt, or else the only CSV file in val/ or beside it.

    Where val/ has only class folders, a CSV file with other columns is not meant.

    Raises:
        UserError: there are several CSV files.
    """
    val = folder / "val"
    tables = sorted({*val.glob("*.csv"), *folder.glob("val*.csv")})
    if not any(place.is_dir() and has_loose_images(place) for place in (val, val / "images")):
        tables = [path for path in tables if _may_have_labels(path)]
    if (annotations := val / ANNOTATIONS).exists() or not tables:
        return annotations
    if len(tables) > 1:
        raise UserError(f"{some(tables)} may each have the labels of {val}. Keep only the right one.")
    return tables[0]


def read_labels(path: Path, class_ids: Collection[str]) -> dict[str, str]:
    """The class id of each file that val_annotations.txt or a CSV file lists.

    A line of the former has a file, its class id and four box coordinates, separated by tabs. A CSV file has a column
    of files, whose folders are dropped, and one of class ids.

    Raises:
        UserError: the file can't be read, a line is malformed, a class is unknown, or a file is listed twice.
    """
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise UserError(
            f"{path} can't be read: {error.strerror}. It has the labels of val/images: extract the archive again."
        ) from None
    if path.name == ANNOTATIONS:
        lines, what = _annotations(content), "a file, a class id and four numbers, separated by tabs"
    else:
        lines, what = _rows(path, content, class_ids), "a file and a class id"
    known, class_of = set(class_ids), {}
    malformed, unknown, repeated = [], [], []
    for number, text, pair in lines:
        if pair is None:
            malformed.append(f"line {number} ({text[:60]!r})")
            continue
        name, class_id = pair
        if class_id not in known:
            unknown.append(f"line {number} ({class_id[:60]})")
        if name in class_of:
            repeated.append(f"line {number} ({name[:60]})")
        class_of[name] = class_id
    for must, where in (
        (f"have {what}", malformed),
        ("have a class id from wnids.txt", unknown),
        ("not repeat a file", repeated),
    ):
        if where:
            raise UserError(f"{path}: {some(where)} must {must}. Correct the file, or extract the archive again.")
    return class_of


def _annotations(content: bytes) -> Iterator[Line]:
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            match = ANNOTATION.fullmatch(line.decode("utf-8", errors="replace"))
            is_text = match is not None and "\ufffd" not in match[0]
            yield number, str(line[:60]), match.groups() if is_text else None


def _rows(path: Path, content: bytes, class_ids: Collection[str]) -> Iterator[Line]:
    try:
        text = content.decode("utf-8")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        rows = csv.reader(text.splitlines(), delimiter=delimiter, strict=True)
        first = [cell.strip() for cell in next(rows, [])]
        columns = _columns([cell.lower() for cell in first])
        if columns is None and len(first) == 2 and first[1] in class_ids:  # without a header
            columns = 0, 1
            rows = csv.reader(text.splitlines(), delimiter=delimiter, strict=True)
        if columns is None:
            raise UserError(
                f"{path} should have a column of files ({', '.join(FILES)}) and one of class ids "
                f"({', '.join(LABELS)}), but has {some(first) or 'nothing'}. Rename its columns."
            )
        for row in rows:
            if any(cell.strip() for cell in row):
                yield rows.line_num, delimiter.join(row), _pair(row, *columns)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no CSV file in UTF-8: {error}.") from None


def _may_have_labels(path: Path) -> bool:
    """Whether a CSV file has the columns, or two of any name, which may be values; it may be unreadable."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            cells = [cell.strip(" \"'\n").lower() for cell in re.split("[,;\t]", file.readline(1000))]
    except (OSError, UnicodeDecodeError):
        return True
    return len(cells) <= 2 or _columns(cells) is not None


def _columns(header: list[str]) -> tuple[int, int] | None:
    """The places of the columns of files and of labels."""
    files, labels = ([place for place, cell in enumerate(header) if cell in names] for names in (FILES, LABELS))
    return (files[0], labels[0]) if len(files) == len(labels) == 1 else None


def _pair(row: list[str], file: int, label: int) -> tuple[str, str] | None:
    if len(row) <= max(file, label):
        return None
    name = re.split(r"[/\\]", row[file].strip())[-1]
    return None if name in ("", ".", "..") or "\0" in name else (name, row[label].strip())
