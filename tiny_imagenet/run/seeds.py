"""What runs that differ only in their seed have in common: their mean, and how certain it is."""

import math
from collections.abc import Sequence
from typing import NamedTuple

SEED = "seed_everything"  # the option, and the column of trials.csv


class Mean(NamedTuple):
    """The mean of some values, and its standard error: their sample standard deviation divided by the square root of
    their number. The error is NaN for a single value, both are for none."""

    value: float
    error: float


def mean_of(values: Sequence[float]) -> Mean:
    """The mean of several runs' values; NaN if one of them is."""
    count = len(values)
    if not count:
        return Mean(math.nan, math.nan)
    mean = math.fsum(values) / count
    if count == 1:
        return Mean(mean, math.nan)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return Mean(mean, math.sqrt(variance / count))
