"""Losses far above all others, which would press the rest of a figure flat."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tiny_imagenet.report.runs import Run

MOST = 0.15  # share of the points that may lie beyond the axis
RATIO = 5  # of the highest to the lowest value, from which the axis is logarithmic


class Peaks(NamedTuple):
    """Where an axis begins and ends, None if nothing lies beyond; what to say of it; and whether it is logarithmic."""

    bottom: float | None = None
    top: float | None = None
    note: str = ""
    logarithmic: bool = False


def find_peaks(runs: Sequence[Run], names: Sequence[str]) -> Peaks:
    """Choose the axis of these metrics of all runs.

    Points beyond three times the median and Tukey's outer fence, of the logarithms, leave the picture if they are few.
    """
    every = [np.concatenate([run.values(name).to_numpy() for name in names]) for run in runs]
    values = np.concatenate(every)
    values = values[values > 0]
    if not len(values):
        return Peaks()
    low, middle, high = np.quantile(np.log(values), (0.25, 0.5, 0.75))
    fence = max(3 * np.exp(middle), np.exp(min(high + 3 * (high - low), 100)))
    inside = values[values <= fence]
    beyond = [float(each.max()) for each in every if len(each) and each.max() > fence]
    points = len(values) - len(inside)
    if points > MOST * len(values):
        inside, beyond = values, []
    logarithmic = bool(inside.max() > RATIO * inside.min())
    if not beyond:
        return Peaks(logarithmic=logarithmic)
    which = f"{points} point{'s' * (points > 1)} of {len(beyond)} run{'s' * (len(beyond) > 1)}"
    note = f"▲ {which} above the axis, up to {max(beyond):,.4g}"
    margin = 0.05 * (inside.max() - inside.min()) or 0.05 * inside.max()
    bottom = 0.95 * inside.min() if logarithmic else inside.min() - margin
    return Peaks(float(bottom), float(inside.max() + margin), note, logarithmic)
