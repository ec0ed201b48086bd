"""Learning curves from metrics.csv: training dashed, validation solid."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tiny_imagenet.errors import some
from tiny_imagenet.report.choosing import best_first
from tiny_imagenet.report.figures import (
    COLOURED,
    LEGEND_LINE,
    PANELS,
    SMALL,
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
from tiny_imagenet.report.peaks import Peaks, find_peaks
from tiny_imagenet.report.runs import Run
from tiny_imagenet.report.text import with_error
from tiny_imagenet.run.seeds import mean_of

AXIS_LABELS = {
    "top1": "top-1 accuracy (%)",
    "top5": "top-5 accuracy (%)",
    "loss": "cross-entropy loss",
    "lr": "learning rate",
}
STAGES = {"val": "validation", "train": "training"}
TRAIN, VAL = "tab:orange", "tab:blue"
FEW = 10  # runs whose training and validation curves are legible in one pair of axes
POINTS = 2000  # of one line, at most
LINE = 1.4  # points
OTHERS = "0.82"  # grey


def curves(runs: Sequence[Run], metric: str = "top1") -> Figure:
    """All runs' curves of `top1`, `top5`, `loss` or `lr` in one figure, each run in its colour.

    Up to ten runs share one pair of axes; more have one for validation and one for training. The legend is sorted, the
    best run first; beyond twenty runs the others are grey. Where curves coincide, the lower ones are wider.
    A few losses far above all others leave the picture, and the legend says so.
    """
    ordered = best_first(runs, metric)
    coloured, others = ordered[:COLOURED], ordered[COLOURED:]
    stages = [stage for stage in STAGES if any(len(run.values(f"{stage}/{metric}")) for run in runs)]
    panels = [stages] if len(runs) <= FEW else [[stage] for stage in stages]
    panels = panels if stages else [[""]]  # a metric of no stage, such as lr
    entries = [Line2D([], [], color=run.colour, label=_with_best(run, metric)) for run in coloured]
    if others:
        entries.append(Line2D([], [], color=OTHERS, label=f"{len(others)} more runs"))
    if len(panels) == 1 and stages:
        entries += [_grey(STAGES[stage], dashed=stage == "train") for stage in stages]
    names = [f"{stage}/{metric}" for stage in stages] or [metric]
    peaks = find_peaks(runs, names) if metric == "loss" else Peaks()
    notes = [note for note in (peaks.note, *(_coinciding_note(coloured, name) for name in names)) if note]
    height = 3.4 * len(panels) + legend_height(entries) + LEGEND_LINE * len(notes) + 0.4
    figure, axes = new_figure(WIDTH, height, len(panels), 1, sharex=True, sharey=True)
    for axis, stages_here in zip(axes[:, 0], panels, strict=True):
        for name in [f"{stage}/{metric}" for stage in stages_here if stage] or [metric]:
            _draw_grey(axis, others, name)
            _draw_coloured(axis, coloured, name, peaks)
        if len(panels) > 1:
            axis.set_title(STAGES[stages_here[0]], fontsize=SMALL + 1, loc="left")
        axis.set_ylabel(AXIS_LABELS.get(metric, metric))
    axes[-1, 0].set_xlabel("epoch")
    epoch_axis(axes[-1, 0], _last_epoch(runs))
    _scale(axes[0, 0], metric, peaks)
    legend_below(figure, [*entries, *(_note(note) for note in notes)])
    return figure


def accuracy_by_minutes(runs: Sequence[Run]) -> Figure:
    """Validation top-1 against the minutes that a run has trained, for what a given time buys. The best run first."""
    entries = [Line2D([], [], color=run.colour, label=_with_best(run, "top1")) for run in best_first(runs)]
    figure, axes = new_figure(WIDTH, 3.8 + legend_height(entries))
    for run in best_first(runs):
        minutes, top1 = run.values("seconds").cumsum() / 60, in_percent(run.values("val/top1"), "top1")
        shared = top1.index.intersection(minutes.index)
        axes[0, 0].plot(minutes[shared], top1[shared], color=run.colour, linewidth=LINE, marker=".", alpha=0.8)
    axes[0, 0].set(xlabel="minutes of training", ylabel=AXIS_LABELS["top1"], xlim=(0, None))
    axes[0, 0].set_ylim(bottom=max(0, axes[0, 0].get_ylim()[0]))
    legend_below(figure, entries)
    return figure


def curve_panels(runs: Sequence[Run], metric: str = "top1", columns: int = 3, most: int = PANELS) -> Figure:
    """A small panel for each of the best runs, with its training and validation curve of `top1`, `top5` or `loss`."""
    shown = best_first(runs, metric)[:most]
    columns = min(columns, len(shown))
    padded = [*shown, *[None] * (-len(shown) % columns)]
    return curve_grid([padded[start : start + columns] for start in range(0, len(padded), columns)], metric, width=2.9)


def curve_grid(grid: Sequence[Sequence[Run | None]], metric: str = "top1", width: float = 4.2) -> Figure:
    """Panels of training and validation curves on the same scales, one for each run of the grid; None leaves a gap.

    Args:
        width: of a panel, in inches.
    """
    runs = [run for row in grid for run in row if run is not None]
    peaks = find_peaks(runs, [f"{stage}/{metric}" for stage in STAGES]) if metric == "loss" else Peaks()
    figure, axes = new_panels(
        len(grid), len(grid[0]), width, "epoch", AXIS_LABELS.get(metric, metric), legend=3 if peaks.note else 1
    )
    for axis, run in zip(axes.flat, (run for row in grid for run in row), strict=True):
        if run is not None:
            _draw(axis, run, f"train/{metric}", TRAIN, peaks)
            _draw(axis, run, f"val/{metric}", VAL, peaks)
            panel_title(axis, run.label, width)
    hide_empty(axes)
    epoch_axis(axes[0, 0], _last_epoch(runs))
    _scale(axes[0, 0], metric, peaks)
    handles = [
        Line2D([], [], color=TRAIN, linestyle="--", label="training"),
        Line2D([], [], color=VAL, label="validation"),
    ]
    legend_below(figure, [*handles, *([_note(peaks.note)] if peaks.note else [])], columns=1 if peaks.note else 2)
    return figure


def in_percent(values: pd.Series, metric: str) -> pd.Series:
    """Values of a metric as they are shown: accuracies, which are fractions of 1, in percent."""
    return 100 * values if "top" in metric else values


def _draw_coloured(axis: Axes, runs: Sequence[Run], name: str, peaks: Peaks) -> None:
    """The best run on top. Where curves coincide, the lower ones are wider, so that each colour is visible."""
    coinciding = _coinciding(runs, name)
    above: dict[int, int] = {}
    widths = {}
    for run in runs:
        group = next((number for number, each in enumerate(coinciding) if run in each), -1)
        widths[run] = LINE + 1.6 * min(above.get(group, 0), 3) * (group >= 0)
        above[group] = above.get(group, 0) + 1
    for run in reversed(runs):
        _draw(axis, run, name, run.colour, peaks, widths[run])


def _draw(axis: Axes, run: Run, name: str, colour: str, peaks: Peaks, width: float = LINE) -> None:
    """A run's curve; around the mean of several seeds a band from the lowest to the highest."""
    if len(run.each) > 1:
        seeds = pd.concat([_thinned(in_percent(each.values(name), name)) for each in run.each], axis=1)
        axis.fill_between(seeds.index, seeds.min(axis=1), seeds.max(axis=1), color=colour, alpha=0.2, linewidth=0)
    values = _thinned(in_percent(run.values(name), name))
    marker = "." if len(values) <= 12 else None  # a single epoch would not be seen
    dashed = name.startswith("train/")
    axis.plot(values.index, values, color=colour, linestyle="--" if dashed else "-", linewidth=width, marker=marker,
              alpha=0.7 if dashed else 0.9)  # fmt: skip
    if peaks.top is not None and (beyond := values.index[values > peaks.top]).size:
        axis.scatter(beyond, np.full(len(beyond), peaks.top), color=colour, marker="^", s=16, clip_on=False)


def _draw_grey(axis: Axes, runs: Sequence[Run], name: str) -> None:
    if not runs:
        return
    every = [_thinned(in_percent(run.values(name), name)) for run in runs]
    lines = [np.column_stack([values.index, values]) for values in every if len(values)]
    axis.add_collection(LineCollection(lines, colors=OTHERS, linewidths=0.6), autolim=True)
    axis.autoscale_view()


def _thinned(values: pd.Series) -> pd.Series:
    step = -(-len(values) // POINTS)
    return values if step <= 1 else values.iloc[::step]


def _scale(axis: Axes, metric: str, peaks: Peaks) -> None:
    if metric == "lr" or peaks.logarithmic:
        log_axis(axis)
    if peaks.top is not None:
        axis.set_ylim(peaks.bottom, peaks.top)


def _coinciding(runs: Sequence[Run], name: str) -> list[list[Run]]:
    """Groups of runs whose curves of a metric are the same as far as they go."""
    groups: list[list[Run]] = []
    for run in sorted(runs, key=lambda run: -len(run.values(name))):
        values = run.values(name)
        if len(values):
            same = [group for group in groups if values.equals(group[0].values(name).iloc[: len(values)])]
            same[0].append(run) if same else groups.append([run])
    return [group for group in groups if len(group) > 1]


def _coinciding_note(runs: Sequence[Run], name: str) -> str:
    groups = _coinciding(runs, name)
    kind = f"{STAGES.get(name.partition('/')[0], '')} curves".lstrip()
    if len(groups) == 1:
        return f"{len(groups[0])} {kind} coincide: {some((run.label for run in groups[0]), 2)}"
    return f"{sum(map(len, groups))} {kind} coincide with others" if groups else ""


def _last_epoch(runs: Sequence[Run]) -> int:
    return max(int(run.metrics["epoch"].max()) + 1 for run in runs)


def _with_best(run: Run, metric: str) -> str:
    best, error = mean_of([each.best(f"val/{metric}") for each in run.each])
    if pd.isna(best):
        return f"–  {run.label}"
    if metric.startswith("top"):
        return f"{with_error(f'{100 * best:.1f}', 100 * error)} %  {run.label}"
    return f"{with_error(f'{best:.4g}', error)}  {run.label}"


def _grey(label: str, dashed: bool) -> Line2D:
    return Line2D([], [], color="0.4", linestyle="--" if dashed else "-", label=label)


def _note(text: str) -> Line2D:
    """A line of the legend that explains the picture, without a line of it."""
    return Line2D([], [], linestyle="none", label=text)
