"""Learning curves from metrics.csv: training dashed, validation solid."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from tiny_imagenet.report.figures import SMALL, hide_empty, new_figure, new_panels
from tiny_imagenet.report.runs import Run

AXIS_LABELS = {
    "top1": "top-1 accuracy (%)",
    "top5": "top-5 accuracy (%)",
    "loss": "cross-entropy loss",
    "lr": "learning rate",
}
TRAIN, VAL = "tab:orange", "tab:blue"
FEW = 10  # runs whose training and validation curves are legible in one pair of axes


def curves(runs: Sequence[Run], metric: str = "top1") -> Figure:
    """All runs' curves of `top1`, `top5`, `loss` or `lr` in one figure, each run in its colour.

    Up to ten runs share one pair of axes; more have one for training and one for validation. The legend is sorted, the
    best run first.
    """
    stages = [stage for stage in ("train", "val") if any(len(run.values(f"{stage}/{metric}")) for run in runs)]
    panels = [stages] if len(runs) <= FEW else [[stage] for stage in stages]
    panels = panels if stages else [[""]]  # a metric of no stage, such as lr
    entries = -(-len(runs) // 3) if len(runs) > FEW else 0
    figure, axes = new_figure(11, 4.6 + 0.17 * entries, 1, len(panels), sharey=True)
    for axis, stages_here in zip(axes[0], panels, strict=True):
        for run in runs:
            for stage in stages_here:
                _draw(axis, run, f"{stage}/{metric}" if stage else metric, run.colour, dashed=stage == "train")
        _label(
            axis, metric, {"train": "training", "val": "validation"}.get(stages_here[0]) if len(panels) > 1 else None
        )
    axes[0, 0].set_ylabel(AXIS_LABELS.get(metric, metric))
    _leave_out_peaks(axes[0, 0], runs, metric)
    handles = [Line2D([], [], color=run.colour, label=_with_best(run, metric)) for run in _best_first(runs, metric)]
    if len(runs) <= FEW:
        styles = {"train": ("--", "training"), "val": ("-", "validation")}
        handles += [Line2D([], [], color="0.4", linestyle=styles[s][0], label=styles[s][1]) for s in stages]
        figure.legend(handles=handles, loc="outside right upper", fontsize=SMALL, frameon=False)
    else:
        figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=SMALL - 1, frameon=False)
    return figure


def accuracy_by_minutes(runs: Sequence[Run]) -> Figure:
    """Validation top-1 against the minutes that a run has trained, for what a given time buys. The best run first."""
    figure, axes = new_figure(11, 4.6)
    for run in _best_first(runs, "top1"):
        minutes, top1 = run.values("seconds").cumsum() / 60, in_percent(run.values("val/top1"), "top1")
        shared = top1.index.intersection(minutes.index)
        axes[0, 0].plot(minutes[shared], top1[shared], color=run.colour, linewidth=1.4, marker=".",
                        label=_with_best(run, "top1"))  # fmt: skip
    axes[0, 0].set(xlabel="minutes of training", ylabel=AXIS_LABELS["top1"], xlim=(0, None), ylim=(0, None))
    figure.legend(loc="outside right upper", fontsize=SMALL, frameon=False)
    return figure


def curve_panels(runs: Sequence[Run], metric: str = "top1", columns: int = 4) -> Figure:
    """A small panel for each run, with its training and validation curve of `top1`, `top5` or `loss`."""
    columns = min(columns, len(runs))
    padded = [*runs, *[None] * (-len(runs) % columns)]
    return curve_grid([padded[start : start + columns] for start in range(0, len(padded), columns)], metric, width=2.9)


def curve_grid(grid: Sequence[Sequence[Run | None]], metric: str = "top1", width: float = 5.0) -> Figure:
    """Panels of training and validation curves on the same scales, one for each run of the grid; None leaves a gap.

    Args:
        width: of a panel, in inches.
    """
    figure, axes = new_panels(len(grid), len(grid[0]), width, "epoch", AXIS_LABELS.get(metric, metric))
    for axis, run in zip(axes.flat, (run for row in grid for run in row), strict=True):
        if run is not None:
            _draw(axis, run, f"train/{metric}", TRAIN, dashed=True)
            _draw(axis, run, f"val/{metric}", VAL)
            axis.set_title(run.label, fontsize=SMALL if width > 4 else SMALL - 1.5, y=1.0, pad=3)
    hide_empty(axes)
    _leave_out_peaks(axes[0, 0], [run for row in grid for run in row if run is not None], metric)
    handles = [
        Line2D([], [], color=TRAIN, linestyle="--", label="training"),
        Line2D([], [], color=VAL, label="validation"),
    ]
    figure.legend(handles=handles, loc="upper right", ncols=2, fontsize=SMALL, frameon=False)
    return figure


def in_percent(values: pd.Series, metric: str) -> pd.Series:
    """Values of a metric as they are shown: accuracies, which are fractions of 1, in percent."""
    return 100 * values if "top" in metric else values


def _draw(axis: Axes, run: Run, metric: str, colour: str, dashed: bool = False) -> None:
    values = in_percent(run.values(metric), metric)
    marker = "." if len(values) <= 12 else None  # a single epoch would not be seen
    axis.plot(values.index, values, color=colour, linestyle="--" if dashed else "-", linewidth=1.4, marker=marker,
              alpha=0.7 if dashed else 1)  # fmt: skip


def _label(axis: Axes, metric: str, title: str | None) -> None:
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if title:
        axis.set_title(title, fontsize=SMALL + 2)
    if metric == "lr":
        axis.set_yscale("log")


def _leave_out_peaks(axis: Axes, runs: Sequence[Run], metric: str) -> None:
    """Where a validation loss far above any training loss would press all else flat, let it leave the picture."""
    if metric != "loss":
        return
    highest = {s: max((run.values(f"{s}/loss").max() for run in runs if len(run.values(f"{s}/loss"))), default=0.0)
               for s in ("train", "val")}  # fmt: skip
    if 0 < 2 * highest["train"] < highest["val"]:
        axis.set_ylim(0, 2 * highest["train"])


def _best_first(runs: Sequence[Run], metric: str) -> list[Run]:
    best = pd.Series([run.best(f"val/{metric}") for run in runs], dtype=float)
    return [
        runs[place] for place in best.sort_values(ascending=metric == "loss", na_position="last", kind="stable").index
    ]


def _with_best(run: Run, metric: str) -> str:
    best = run.best(f"val/{metric}")
    if pd.isna(best):
        return run.label
    return f"{100 * best:.1f} %  {run.label}" if metric.startswith("top") else f"{best:.3f}  {run.label}"
