"""Condition numbers of the layers through training, from condition_numbers.csv."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tiny_imagenet.report.choosing import best_first
from tiny_imagenet.report.figures import (
    COLOURED,
    PANELS,
    WIDTH,
    epoch_axis,
    hide_empty,
    legend_below,
    legend_height,
    log_axis,
    new_figure,
    new_panels,
    panel_title,
)
from tiny_imagenet.report.runs import Run

DEPTH = colormaps["viridis"]


def with_conditions(runs: Sequence[Run]) -> list[Run]:
    """Those of the runs that have condition numbers; the functions below are for these."""
    return [run for run in runs if run.layer_conditions.size]


def conditions_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run: its layers' median and largest condition number at the first and the last epoch that has them.

    Rank-deficient layers, whose condition number is infinite, are counted at the last one and are not in the medians.
    """
    rows = []
    for run in runs:
        by_epoch = run.layer_conditions
        ends = by_epoch.iloc[[0, -1]]
        last = ends.iloc[-1]
        finite = last[np.isfinite(last)]
        first_median, last_median = _medians(ends)
        rows.append(
            {
                "run": run.label,
                "layers": by_epoch.shape[1],
                "epochs": int(by_epoch.index[-1]),
                "median first": first_median,
                "median last": last_median,
                "largest last": finite.max(),
                "its layer": finite.idxmax() if len(finite) else "",
                "rank-deficient last": int(np.isinf(last).sum()),
            }
        )
    return pd.DataFrame(rows)


def condition_medians(runs: Sequence[Run]) -> Figure:
    """The median condition number of each run's layers against epochs, each in its colour; beyond twenty, the best."""
    shown = best_first(runs)[:COLOURED]
    entries = [Line2D([], [], color=run.colour, label=run.label) for run in shown]
    figure, axes = new_figure(WIDTH, 3.8 + legend_height(entries))
    last = 1
    for run in shown:
        medians = _medians(run.layer_conditions)
        last = max(last, medians.index[-1])
        axes[0, 0].plot(medians.index, medians, color=run.colour, alpha=0.9, marker="." if len(medians) <= 12 else None)
    axes[0, 0].set(xlabel="epoch", ylabel="median condition number of the layers")
    log_axis(axes[0, 0])
    epoch_axis(axes[0, 0], last)
    legend_below(figure, entries)
    return figure


def condition_numbers(runs: Sequence[Run], columns: int = 3, most: int = PANELS) -> Figure:
    """Every layer's condition number against epochs, a panel for each of the best runs; the first layer is dark."""
    shown = best_first(runs)[:most]
    columns = min(columns, len(shown))
    figure, axes = new_panels(-(-len(shown) // columns), columns, 2.9, "epoch", "condition number")
    last = 1
    for axis, run in zip(axes.flat, shown, strict=False):
        by_epoch = run.layer_conditions.replace(np.inf, np.nan)
        last = max(last, by_epoch.index[-1])
        colours = DEPTH(np.linspace(0, 1, by_epoch.shape[1]))
        lines = axis.plot(by_epoch.index, by_epoch, linewidth=1, marker="." if len(by_epoch) <= 12 else None)
        for line, colour in zip(lines, colours, strict=True):
            line.set_color(colour)
        panel_title(axis, run.label, 2.9)
        log_axis(axis)
    hide_empty(axes)
    epoch_axis(axes[0, 0], last)
    depths = {"first layer": 0.0, "last layer": 1.0}
    legend_below(figure, [Line2D([], [], color=DEPTH(depth), label=name) for name, depth in depths.items()])
    return figure


def _medians(by_epoch: pd.DataFrame) -> pd.Series:
    return by_epoch.replace(np.inf, np.nan).median(axis=1)
