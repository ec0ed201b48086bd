"""Runs that differ in one factor only, such as the batch size, the learning rate or the optimizer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tiny_imagenet.report.figures import LEGEND_LINE, WIDTH, bars, legend_below, new_figure
from tiny_imagenet.report.runs import Run
from tiny_imagenet.report.settings import component_name, described, differing, frozen, is_component
from tiny_imagenet.report.tables import ERROR, results_table
from tiny_imagenet.report.text import LONGEST, cut, printable

BARS = 20  # of one study, the best ones
TICKS = 12  # values that fit below an axis


@dataclass(frozen=True)
class Factor:
    """What a study varies: the settings that make it up, and its value in a run's settings.

    A numeric factor has `measures`, what it is drawn against (a column of `study_table` → axis label), and the `base`
    of its logarithmic axis.
    """

    name: str
    own: tuple[str, ...]
    value: Callable[[Mapping[str, Any]], Any]
    measures: Mapping[str, str] = field(default_factory=dict)
    base: int = 10

    def others(self, run: Run) -> dict[str, Any]:
        """A run's settings, its data and protocol too, except the factor's own and the seed."""
        return {name: value for name, value in run.settings.items() if name not in (*self.own, "seed")}


@dataclass(frozen=True)
class Study:
    """Runs with at least two values of a factor, `values` in the order of `runs`.

    `label` tells the study from others of the same factor. A study is controlled if only the factor and the seed
    differ, and the data and the protocol are the same; otherwise its runs are trials of one sweep.
    """

    factor: Factor
    label: str
    runs: Sequence[Run]
    values: Sequence[Any]
    controlled: bool


def _batch_size(settings: Mapping[str, Any]) -> int | None:
    size, accumulated = settings.get("data.batch_size"), settings.get("trainer.accumulate_grad_batches", 1)
    return size * accumulated if isinstance(size, int) and isinstance(accumulated, int) else None


BATCH_SIZE = Factor(
    "batch size",
    ("data.batch_size", "trainer.accumulate_grad_batches"),
    _batch_size,
    {
        "val top-1 (%)": "best validation top-1 (%)",
        "seconds an epoch": "seconds an epoch",
        "images/s": "training images/s",
        "memory (MiB)": "peak memory (MiB)",
    },
    base=2,
)
LEARNING_RATE = Factor(
    "learning rate",
    ("model.lr",),
    lambda settings: settings.get("model.lr"),
    {"val top-1 (%)": "best validation top-1 (%)", "val loss": "best validation loss"},
)
OPTIMIZER = Factor(
    "optimizer",
    ("model.optimizer", "model.lr"),
    lambda settings: settings.get("model.optimizer"),
)
SCHEDULER = Factor(
    "scheduler",
    ("model.scheduler", "model.scheduler_interval"),
    lambda settings: settings.get("model.scheduler", "none"),
)
SHAPE = Factor(
    "width and blocks",
    ("model.width", "model.blocks"),
    lambda settings: [f"width {settings.get('model.width', 1.0):g}", settings.get("model.blocks", "all blocks")],
)
EPOCHS = Factor(
    "planned epochs",
    ("trainer.max_epochs",),
    lambda settings: settings.get("trainer.max_epochs"),
)


def find_studies(runs: Sequence[Run], factor: Factor) -> list[Study]:
    """The studies of a factor among these runs, the largest controlled one first.

    Runs that agree in all other settings, in the data and in the protocol make a study. So do trials of one sweep that
    are in no such study and differ in other numbers too, as when a sweep scales the learning rate with the batch size.
    """
    having = [run for run in runs if factor.value(run.settings) is not None]
    controlled = _varying(_grouped(having, lambda run: frozen(factor.others(run))), factor)
    placed = {run for group in controlled for run in group}
    left = [run for run in having if run.sweep and run not in placed]
    sweeps = _varying(_grouped(left, lambda run: _sweep_and_kinds(run, factor)), factor)
    told_apart = differing([factor.others(group[0]) for group in controlled])
    labels = [cut(", ".join(f"{name} {text}" for name, text in texts.items()), LONGEST) for texts in told_apart]
    labels += [f"{printable(group[0].sweep.name)} (other settings differ too)" for group in sweeps]
    return [
        Study(factor, label, group, [factor.value(run.settings) for run in group], controlled=place < len(controlled))
        for place, (label, group) in enumerate(zip(labels, [*controlled, *sweeps], strict=True))
    ]


def study_table(study: Study) -> pd.DataFrame:
    """One row a run: the factor's value, results and cost.

    Sorted by the factor if it is a number, else the best run first.
    """
    numeric = all(isinstance(value, int | float) for value in study.values)
    table = results_table(study.runs)
    table.insert(0, study.factor.name, study.values if numeric else described(study.values))
    by = study.factor.name if numeric else "val top-1 (%)"
    return table.sort_values(by, ascending=numeric, kind="stable", ignore_index=True)


def effects(studies: Sequence[Study]) -> Figure:
    """The effect of a number, such as the batch size: a point for each run, and a line through their means.

    A point that is the mean over several seeds has a bar of its standard error.

    All studies are of one factor with `measures`: a panel for each. Only a controlled study has the line.
    """
    factor = studies[0].factor
    labels = [study.label for study in studies if study.label]
    height = 3.0 * len(factor.measures) + LEGEND_LINE * len(labels) + 0.2
    figure, axes = new_figure(WIDTH, height, len(factor.measures), 1, sharex=True)
    tables = [study_table(study) for study in studies]
    for axis, measure in zip(axes.flat, factor.measures, strict=True):
        axis.set_xscale("log", base=factor.base)
        for place, (study, whole) in enumerate(zip(studies, tables, strict=True)):
            table, colour = whole.dropna(subset=measure), f"C{place % 10}"
            axis.plot(table[factor.name], table[measure], "o", color=colour, markersize=4, alpha=0.8)
            if (error := f"{ERROR}{measure}") in table:
                axis.errorbar(table[factor.name], table[measure], table[error], fmt="none", color=colour, capsize=3)
            if study.controlled:
                axis.plot(table.groupby(factor.name)[measure].mean(), color=colour, linewidth=1.4)
        axis.set_ylabel(factor.measures[measure])
        if "best" not in factor.measures[measure]:
            axis.set_ylim(bottom=0)
    lowest = axes[-1, 0]
    lowest.set_xlabel(factor.name)
    ticks = sorted({value for study in studies for value in study.values})
    if factor.base == 2 and len(ticks) <= TICKS:
        lowest.set_xticks(ticks, [str(tick) for tick in ticks])
        lowest.minorticks_off()
    if labels:
        handles = [Line2D([], [], color=f"C{place % 10}", label=s.label or "others") for place, s in enumerate(studies)]
        legend_below(figure, handles, columns=1)
    return figure


def ranking(study: Study) -> Figure:
    """The best run with each value of a factor, such as the optimizer, best first."""
    measure = "val top-1 (%)"
    table = study_table(study).dropna(subset=measure).sort_values(measure, ascending=False, kind="stable")
    best = table.drop_duplicates(study.factor.name).head(BARS)
    colours = {run.label: run.colour for run in study.runs}
    figure, axes = new_figure(WIDTH, 0.9 + 0.36 * len(best))
    bars(
        axes[0, 0],
        [cut(str(value), 40) for value in best[study.factor.name]],
        [colours[label] for label in best["run"]],
        list(best[measure]),
        errors=list(best[error]) if (error := f"{ERROR}{measure}") in best else None,
    )
    axes[0, 0].set_xlabel(f"best {measure}")
    return figure


def _grouped(runs: Sequence[Run], key: Callable[[Run], str]) -> list[list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return list(groups.values())


def _varying(groups: Sequence[list[Run]], factor: Factor) -> list[list[Run]]:
    """The groups with at least two values of the factor, the largest first."""
    varying = [group for group in groups if len({frozen(factor.value(run.settings)) for run in group}) > 1]
    return sorted(varying, key=len, reverse=True)


def _sweep_and_kinds(run: Run, factor: Factor) -> str:
    """A trial's sweep and all its settings that are not numbers, so that two optimizers never share a line."""
    kinds = {
        name: component_name(value) if is_component(value) else value
        for name, value in factor.others(run).items()
        if not isinstance(value, int | float)
    }
    return f"{run.sweep} {frozen(kinds)}"
