"""The files that a run leaves, read while it may still be writing them."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

TEXT_COLUMNS = {"class_id", "name", "target_id", "target", "predicted_id", "predicted", "layer"}


def read_metrics(path: Path) -> pd.DataFrame:
    """A metrics.csv, one row for each finished epoch, in order.

    Raises:
        ValueError: it has no column `epoch`, or no whole row yet.
    """
    metrics = read_table(path, ["epoch"]).dropna(subset="epoch")
    if metrics.empty:
        raise ValueError(f"{path.name} has no finished epoch yet")
    return metrics.drop_duplicates("epoch", keep="last").sort_values("epoch", ignore_index=True)


def read_test(path: Path) -> dict[str, float]:
    """The numbers of a test_metrics.json.

    Raises:
        ValueError: it isn't readable, or has no top1.
    """
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path.name} is not readable: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("top1"), int | float):
        raise ValueError(f"{path.name} has no top1")
    return {name: float(value) for name, value in content.items() if isinstance(value, int | float)}


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A CSV file. A line that is not whole is left out; what should be a number and is none becomes NaN.

    Raises:
        ValueError: it lacks one of the columns, or has no whole row yet.
    """
    text = path.read_bytes().decode("utf-8", "replace").replace("\0", "")
    # What follows the last line break may be half of a row, or a number without its last digits.
    reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
    try:
        rows = [row for row in reader if None not in row and None not in row.values()]
    except csv.Error as error:
        raise ValueError(f"{path.name} is not readable: {error}") from None
    if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise ValueError(f"{path.name} has no column {', '.join(missing)}" if text.strip() else f"{path.name} is empty")
    if not rows:
        raise ValueError(f"{path.name} has no whole row yet")
    table = pd.DataFrame(rows)
    for name in table.columns.difference(list(TEXT_COLUMNS)):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return table
