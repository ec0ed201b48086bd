"""Condition numbers of the layers through training, from condition_numbers.csv."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from tiny_imagenet.report.figures import SMALL, hide_empty, new_figure, new_panels
from tiny_imagenet.report.runs import Run

DEPTH = colormaps["viridis"]


def with_conditions(runs: Sequence[Run]) -> list[Run]:
    """Those of the runs that have condition numbers; the functions below are for these."""
    return [run for run in runs if len(run.conditions.dropna())]


def conditions_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run: its layers' median and largest condition number at the first and the last epoch that has them.

    Rank-deficient layers, whose condition number is infinite, are counted at the last one and are not in the medians.
    """
    rows = []
    for run in runs:
        by_epoch = _by_epoch(run)
        last = by_epoch.iloc[-1]
        finite = last[np.isfinite(last)]
        rows.append(
            {
                "run": run.label,
                "layers": by_epoch.shape[1],
                "epochs": int(by_epoch.index[-1]),
                "median first": _medians(by_epoch).iloc[0],
                "median last": _medians(by_epoch).iloc[-1],
                "largest last": finite.max(),
                "its layer": finite.idxmax() if len(finite) else "",
                "rank-deficient last": int(np.isinf(last).sum()),
            }
        )
    return pd.DataFrame(rows)


def condition_medians(runs: Sequence[Run]) -> Figure:
    """The median condition number of each run's layers against epochs, each run in its colour."""
    figure, axes = new_figure(10, 4.2 + 0.1 * max(0, len(runs) - 20))
    for run in runs:
        medians = _medians(_by_epoch(run))
        axes[0, 0].plot(
            medians.index, medians, color=run.colour, marker="." if len(medians) <= 12 else None, label=run.label
        )
    axes[0, 0].set(xlabel="epoch", ylabel="median condition number of the layers")
    _in_decades(axes[0, 0])
    axes[0, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside right upper", fontsize=SMALL if len(runs) <= 20 else SMALL - 2, frameon=False)
    return figure


def condition_numbers(runs: Sequence[Run], columns: int = 3) -> Figure:
    """Every layer's condition number against epochs, a panel for each run, from the first layer (dark) to the last."""
    columns = min(columns, len(runs))
    figure, axes = new_panels(-(-len(runs) // columns), columns, 3.8, "epoch", "condition number")
    for axis, run in zip(axes.flat, runs, strict=False):
        by_epoch = _by_epoch(run).replace(np.inf, np.nan)
        colours = DEPTH(np.linspace(0, 1, by_epoch.shape[1]))
        lines = axis.plot(by_epoch.index, by_epoch, linewidth=1, marker="." if len(by_epoch) <= 12 else None)
        for line, colour in zip(lines, colours, strict=True):
            line.set_color(colour)
        axis.set_title(run.label, fontsize=SMALL - 1, y=1.0, pad=3)
        _in_decades(axis)
    hide_empty(axes)
    handles = [Line2D([], [], color=DEPTH(d), label=f"{name} layer") for name, d in (("first", 0.0), ("last", 1.0))]
    figure.legend(handles=handles, loc="upper right", ncols=2, fontsize=SMALL, frameon=False)
    return figure


def _in_decades(axis: Axes) -> None:
    """A logarithmic scale with plain numbers, of which there are enough also within a decade."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())


def _by_epoch(run: Run) -> pd.DataFrame:
    """Condition numbers [epochs, layers], by the number of finished epochs, layers in the file's order."""
    rows = run.conditions.dropna().drop_duplicates(["epoch", "layer"], keep="last")
    table = rows.pivot(index="epoch", columns="layer", values="condition_number")
    table.index = table.index.astype(int) + 1
    return table[rows["layer"].drop_duplicates()]


def _medians(by_epoch: pd.DataFrame) -> pd.Series:
    return by_epoch.replace(np.inf, np.nan).median(axis=1)
