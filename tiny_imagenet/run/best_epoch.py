"""Which epoch of a run is its best, if validation images may have had several sizes."""

import math
from collections.abc import Iterable, Mapping
from typing import Literal

from tiny_imagenet.run.metric_names import IMAGE_SIZE

Row = Mapping[str, float | None]


def best_row(rows: Iterable[Row], metric: str, mode: Literal["max", "min"]) -> Row | None:
    """The row of metrics.csv with the best finite value of a metric, of equal ones the first; None if none has any.

    In progressive training only the epochs validated at the same size as the last one count: accuracies at other sizes
    do not compare. Rows without a size, of runs from before sizes were recorded, always count.
    """
    valued = [row for row in rows if row.get(metric) is not None and math.isfinite(row[metric])]
    if not valued:
        return None
    size = valued[-1].get(IMAGE_SIZE)
    comparable = [row for row in valued if size is None or row.get(IMAGE_SIZE) in (None, size)]
    return (max if mode == "max" else min)(comparable, key=lambda row: row[metric])
