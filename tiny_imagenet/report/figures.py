"""What all figures share: their look."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

SMALL = 8  # points


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, layout: str | None = "constrained", **subplots: Any
) -> tuple[Figure, np.ndarray]:
    """An empty figure, in inches, and its axes [rows, columns]: a light grid, no frame.

    Figures are made without pyplot, so none is shown or kept alive by it, and no display is needed.
    """
    figure = Figure(figsize=(width, height), layout=layout)
    axes = figure.subplots(rows, columns, squeeze=False, **subplots)
    for axis in axes.flat:
        light_grid(axis)
    return figure, axes


def new_panels(rows: int, columns: int, width: float, x: str, y: str) -> tuple[Figure, np.ndarray]:
    """A grid of panels with the same scales, `width` inches each, with room for titles and a legend on top.

    Its margins are set by hand: a constrained layout of fifty panels takes longer than the rest of a report.
    """
    height, left, right, top, bottom, gap = 0.3 + 0.4 * width, 0.7, 0.1, 0.5, 0.55, 0.32
    size = left + columns * width + right, top + rows * (height + gap) + bottom
    figure, axes = new_figure(*size, rows, columns, layout=None, sharex=True, sharey=True)
    figure.subplots_adjust(left / size[0], bottom / size[1], 1 - right / size[0], 1 - top / size[1], 0.06, gap / height)
    figure.supxlabel(x, fontsize=SMALL + 1, y=0.1 / size[1], va="bottom")
    figure.supylabel(y, fontsize=SMALL + 1, x=0.1 / size[0], ha="left")
    for axis in axes.flat:
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure, axes


def light_grid(axis: Axes) -> None:
    """A light grid behind the lines, no frame."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="0.9", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(which="both", labelsize=SMALL)


def hide_empty(axes: np.ndarray) -> None:
    """Hide panels of shared axes [rows, columns] without lines; the lowest that is left in a column gets the ticks."""
    for column in axes.T:
        drawn = [axis for axis in column if axis.lines]
        for axis in column:
            axis.set_visible(axis in drawn)
        for axis in drawn[-1:]:
            axis.tick_params(labelbottom=True)


def bars(
    axis: Axes,
    labels: Sequence[str],
    colours: Sequence[str] | str,
    values: Sequence[float],
    text: str | None = "{:.1f}",
) -> None:
    """Horizontal bars, the first on top, each with its value as `text`, if there is one."""
    drawn = axis.barh(range(len(labels)), values, color=colours, height=0.7)
    axis.set_yticks(range(len(labels)), labels)
    if text:
        axis.bar_label(drawn, [text.format(value) for value in values], padding=3, fontsize=SMALL)
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.margins(x=0.12)
    axis.grid(visible=False, axis="y")
