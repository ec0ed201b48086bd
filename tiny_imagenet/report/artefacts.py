"""The files that a run leaves, read even while it is writing them, and checked."""

import csv
import io
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tiny_imagenet.run.bounded import read_file
from tiny_imagenet.run.metric_names import is_accuracy

CONDITION_COLUMNS = ["epoch", "layer", "condition_number"]
TEXT_COLUMNS = {"class_id", "name", "target_id", "target", "predicted_id", "predicted", "layer"}
COUNTS = {"images", "correct", "count", "epoch"}
FRACTIONS = {"top1", "top5", "precision"}
LARGEST_TABLE = 20_000_000  # bytes; metrics.csv has 100 an epoch, confusion.csv of 200 classes 500 kB
MOST_CELLS = 1_000_000  # as 100,000 epochs have
MOST_COLUMNS = 1000
LARGEST_JSON = 100_000
LARGEST_VALUE = 1e30  # figures cannot be scaled to more
LARGEST_COUNT = 1e12
LARGEST_CONDITION = 1e30  # a layer with more is taken as rank-deficient
MOST_LAYERS = 1000


def read_metrics(path: Path) -> pd.DataFrame:
    """A metrics.csv, one row for each finished epoch, in order. What is infinite becomes NaN.

    Raises:
        ValueError: it has no column `epoch`, no whole row yet, an impossible epoch or an accuracy outside 0 to 1.
    """
    metrics = read_table(path, ["epoch"])
    metrics = metrics[~np.isnan(metrics["epoch"].to_numpy())]
    if metrics.empty:
        raise ValueError(f"{path.name} has no finished epoch yet")
    for name in metrics.columns:
        values = metrics[name].to_numpy()
        if is_accuracy(name):
            _require(path, name, values, 0, 1)
        elif (np.abs(values) > LARGEST_VALUE).any():
            metrics = metrics.assign(**{name: np.where(np.abs(values) > LARGEST_VALUE, np.nan, values)})
    epochs = metrics["epoch"].to_numpy()
    if (np.diff(epochs) > 0).all():
        return metrics.reset_index(drop=True)
    return metrics.drop_duplicates("epoch", keep="last").sort_values("epoch", ignore_index=True)


def read_conditions(path: Path) -> pd.DataFrame:
    """A condition_numbers.csv; a rank-deficient layer has infinity.

    Raises:
        ValueError: see `read_table`, or it has too many layers to draw.
    """
    table = read_table(path, CONDITION_COLUMNS)
    layers = table["layer"].nunique()
    if layers > MOST_LAYERS:
        raise ValueError(f"{path.name} has {layers:,} layers, more than {MOST_LAYERS:,}")
    if (epochs := table["epoch"].nunique()) * layers > MOST_CELLS:
        raise ValueError(f"{path.name} has {epochs:,} epochs of {layers:,} layers, most of them without a number")
    numbers = table["condition_number"].to_numpy()
    return table.assign(condition_number=np.where(numbers > LARGEST_CONDITION, np.inf, numbers))


def read_test(path: Path) -> dict[str, float]:
    """The numbers of a test_metrics.json.

    Raises:
        ValueError: it isn't readable, or has no top1, or an accuracy outside 0 to 1.
    """
    try:
        content = json.loads(read_file(path, LARGEST_JSON))
        numbers = {name: float(value) for name, value in content.items() if isinstance(value, int | float)}
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None
    except (ValueError, OverflowError, AttributeError) as error:
        raise ValueError(f"{path.name} is not readable: {error}") from None
    if "top1" not in numbers:
        raise ValueError(f"{path.name} has no top1")
    for name in FRACTIONS & numbers.keys():
        _require(path, name, np.array([numbers[name]]), 0, 1)
    return numbers


def read_table(path: Path, columns: Sequence[str], characters: int | None = None) -> pd.DataFrame:
    """A CSV file. Incomplete lines are left out; what should be a number but is not becomes NaN.

    Args:
        columns: those that it must have; the counts and fractions among them are checked.
        characters: how many to read from the start, all if None.

    Raises:
        ValueError: it is too large, lacks a column, has no whole row yet, or an impossible count or fraction.
    """
    header, rows = read_rows(path, columns, characters)
    table = {
        name: list(cells) if name in TEXT_COLUMNS else _numbers(cells)
        for name, cells in zip(header, zip(*rows, strict=True), strict=True)
    }
    for name in COUNTS & set(columns):  # and not the user's own metrics of the same names
        _require(path, name, table[name], 0, LARGEST_COUNT)
        if len(parts := table[name][table[name] % 1 > 0]):
            raise ValueError(f"{path.name} has {name} {parts[0]:g}, which is not a whole number")
    for name in FRACTIONS & set(columns):
        _require(path, name, table[name], 0, 1)
    return pd.DataFrame(table)


def read_rows(path: Path, columns: Sequence[str], characters: int | None = None) -> tuple[list[str], list[list[str]]]:
    """The header of a CSV file and its rows, each with as many cells; see `read_table`."""
    text = read_file(path, LARGEST_TABLE).decode("utf-8", "replace").replace("\0", "")[:characters]
    # What follows the last line break may be half of a row, or a number without its last digits.
    reader = csv.reader(io.StringIO(text[: text.rfind("\n") + 1]))
    try:
        header = next(reader, [])
        if len(header) > MOST_COLUMNS:
            raise ValueError(f"{path.name} has {len(header):,} columns, more than {MOST_COLUMNS:,}")
        most = MOST_CELLS // max(1, len(header))
        rows = list(itertools.islice((row for row in reader if len(row) == len(header)), most + 1))
    except csv.Error as error:
        raise ValueError(f"{path.name} is not readable: {error}") from None
    if len(rows) > most:
        raise ValueError(f"{path.name} has more than {most:,} rows")
    if missing := [name for name in columns if name not in header]:
        raise ValueError(f"{path.name} has no column {', '.join(missing)}" if text.strip() else f"{path.name} is empty")
    if not rows:
        raise ValueError(f"{path.name} has no whole row yet")
    return header, rows


def _numbers(cells: Sequence[str]) -> np.ndarray:
    try:
        return np.array([cell or "nan" for cell in cells], dtype=object).astype(float)
    except ValueError:
        return pd.to_numeric(pd.Series(cells, dtype=object), errors="coerce").to_numpy(dtype=float)


def _require(path: Path, name: str, values: np.ndarray, least: float, most: float) -> None:
    """Refuse values out of a range; NaN is in it."""
    wrong = values[(values < least) | (values > most)]
    if len(wrong):
        raise ValueError(f"{path.name} has {name} {wrong[0]:g}, which is not in {least:g} to {most:g}")
