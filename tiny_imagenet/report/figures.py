"""What all figures share: their look."""

import re
from collections.abc import Sequence
from itertools import repeat
from math import nan
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from tiny_imagenet.report.text import cut, with_error
from tiny_imagenet.run.class_names import drawable

WIDTH = 6.5  # inches, of a figure that is not a grid of panels: legible on a phone
SMALL = 9  # points
LEGEND_LINE = 0.19  # inches
LONGEST_OF_TWO = 42  # characters of a label, where a legend has two columns
COLOURED = 20  # runs that have a colour and a line in the legend, the best ones
PANELS = 12  # runs that get a panel of their own, the best ones


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


def new_panels(rows: int, columns: int, width: float, x: str, y: str, legend: int = 1) -> tuple[Figure, np.ndarray]:
    """A grid of panels with the same scales, `width` inches each, with room for titles, and below it for a legend.

    Its margins are set by hand: a constrained layout of so many panels takes longer than the rest of a report.

    Args:
        legend: lines of the legend.
    """
    below = 0.15 + LEGEND_LINE * legend
    height, left, right, top, bottom, gap = 0.3 + 0.4 * width, 0.75, 0.1, 0.3, 0.6 + below, 0.32
    size = left + columns * width + right, top + rows * (height + gap) + bottom
    figure, axes = new_figure(*size, rows, columns, layout=None, sharex=True, sharey=True)
    figure.subplots_adjust(left / size[0], bottom / size[1], 1 - right / size[0], 1 - top / size[1], 0.06, gap / height)
    figure.supxlabel(x, fontsize=SMALL + 1, y=(below + 0.05) / size[1], va="bottom")
    figure.supylabel(y, fontsize=SMALL + 1, x=0.1 / size[0], ha="left")
    return figure, axes


def light_grid(axis: Axes) -> None:
    """A light grid behind the lines, no frame."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="0.9", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(which="both", labelsize=SMALL)


def epoch_axis(axis: Axes, epochs: int) -> None:
    """Whole epochs below an axis, the last being `epochs`; a single one has the only tick."""
    if epochs <= 1:
        axis.set(xlim=(0.5, 1.5), xticks=[1])
    else:
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def log_axis(axis: Axes) -> None:
    """A logarithmic scale with plain numbers, of which there are enough also within a decade."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())


def plain(text: str) -> str:
    """Text that matplotlib draws as it is, though it holds dollar signs."""
    return drawable(text).replace("$", r"\$")


def panel_title(axis: Axes, text: str, width: float) -> None:
    """A panel's title, cut to its width in inches."""
    axis.set_title(plain(cut(text, int(width * 14))), fontsize=SMALL, y=1.0, pad=3)


def legend_height(handles: Sequence[Artist]) -> float:
    """The height of `legend_below` in inches."""
    return LEGEND_LINE * -(-len(handles) // _columns(handles))


def legend_below(figure: Figure, handles: Sequence[Artist], columns: int | None = None) -> None:
    """The figure's legend, below all axes; in two columns if the labels are short enough, unless told otherwise."""
    columns = columns or _columns(handles)
    for handle in handles:  # a label that begins with _ would be left out
        handle.set_label(plain(re.sub("^_", " _", str(handle.get_label()))))
    loc = "outside lower center" if figure.get_layout_engine() else "lower center"
    figure.legend(handles=handles, loc=loc, ncols=columns, fontsize=SMALL, frameon=False, borderaxespad=0.3)


def _columns(handles: Sequence[Artist]) -> int:
    # Notes, which have no line, may be longer.
    lined = [handle for handle in handles if not isinstance(handle, Line2D) or handle.get_linestyle() != "None"]
    return 2 if all(len(str(handle.get_label())) <= LONGEST_OF_TWO for handle in lined) else 1


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
    errors: Sequence[float] | None = None,
) -> None:
    """Horizontal bars, the first on top, each with its value as `text`, if there is one, and its error, if not NaN."""
    lengths = None if errors is None else np.nan_to_num(errors)
    drawn = axis.barh(range(len(labels)), values, color=colours, height=0.7, xerr=lengths, ecolor="0.3")
    axis.set_yticks(range(len(labels)), [plain(label) for label in labels])
    if text:
        pairs = zip(values, errors or repeat(nan), strict=False)
        axis.bar_label(drawn, [with_error(text.format(value), e) for value, e in pairs], padding=3, fontsize=SMALL)
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.margins(x=0.12 if errors is None else 0.2)
    axis.grid(visible=False, axis="y")
