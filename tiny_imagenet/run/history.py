"""metrics.csv: one row an epoch, always written whole."""

from pathlib import Path
from typing import Any

from tiny_imagenet.files import csv_text, replace_text
from tiny_imagenet.run import metric_names


class History:
    """The rows of a run's metrics.csv, which travel in its checkpoints.

    The file is made from the rows and replaced at each epoch. So it never holds half a row, and after a resume it has
    neither gaps nor repeated rows, whatever was written after the checkpoint, and even if the file was deleted.
    """

    def __init__(self, rows: list[dict[str, float]] | None = None) -> None:
        self.rows = rows or []

    def write(self, path: Path) -> None:
        """Replace the file at `path`. A column that an epoch has no value for is left empty."""
        replace_text(path, self._text())

    def is_in(self, path: Path) -> bool:
        """Whether the file at `path` has these rows, and perhaps one more, of an unfinished epoch."""
        return path.is_file() and path.read_bytes().startswith(self._text().encode())

    def _text(self) -> str:
        first = first_columns()
        others = {name: None for row in self.rows for name in row if name not in first}
        return csv_text([*first, *others], self.rows)


def first_columns() -> list[str]:
    """The first columns of metrics.csv, in order; the other statistics and the user's own metrics follow."""
    return ["epoch", "step", *(name for name in metric_names.OF_EPOCH if "/" in name), "lr"]


def shortest_float(value: Any) -> float:
    """A scalar tensor as the shortest number that means it: 0.1 where float32's nearest is 0.10000000149."""
    return float(str(value.cpu().numpy()))
