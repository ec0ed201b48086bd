"""Reads the CSV files of a run."""

import csv
from pathlib import Path


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, as dicts by column name."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
