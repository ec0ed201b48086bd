"""CSV files as a run leaves them."""

import csv
from pathlib import Path


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, by the names of their columns."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
