"""Runs that differ in one thing only: what a batch size, a learning rate or an optimizer does."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from tiny_imagenet.report.figures import SMALL, bars, new_figure
from tiny_imagenet.report.runs import Run
from tiny_imagenet.report.settings import component_name, described, differing, frozen, is_component
from tiny_imagenet.report.tables import results_table

BARS = 20  # of one study, the best ones


@dataclass(frozen=True)
class Factor:
    """Something that a study varies: the settings that make it up, and its value in a run's settings.

    A factor that is a number has `measures`, what it is drawn against (a column of `study_table` → axis label), and the
    `base` of its logarithmic axis.
    """

    name: str
    own: tuple[str, ...]
    value: Callable[[Mapping[str, Any]], Any]
    measures: Mapping[str, str] = field(default_factory=dict)
    base: int = 10

    def others(self, run: Run) -> dict[str, Any]:
        """A run's settings that the factor and the seed do not make up."""
        return {name: value for name, value in run.settings.items() if name not in (*self.own, "seed")}


@dataclass(frozen=True)
class Study:
    """Runs with at least two values of a factor, `values` in the order of `runs`.

    `label` is what tells the study from others of the same factor. A study is controlled if nothing but the factor and
    the seed differs; otherwise its runs are trials of one sweep.
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
    """The studies of a factor among these runs.

    Runs alike in all other settings make a study. So do trials of one sweep that are in no such study and differ in
    other numbers too, as when a sweep scales the learning rate along with the batch size.
    """
    having = [run for run in runs if factor.value(run.settings) is not None]
    controlled = _varying(_grouped(having, lambda run: frozen(factor.others(run))), factor)
    left = [run for run in having if run.sweep and not any(run in group for group in controlled)]
    sweeps = _varying(_grouped(left, lambda run: _sweep_and_kinds(run, factor)), factor)
    told_apart = differing([factor.others(group[0]) for group in controlled])
    labels = [", ".join(f"{name} {text}" for name, text in texts.items()) for texts in told_apart]
    labels += [f"{group[0].sweep.name} (other settings differ too)" for group in sweeps]
    return [
        Study(factor, label, group, [factor.value(run.settings) for run in group], controlled=place < len(controlled))
        for place, (label, group) in enumerate(zip(labels, [*controlled, *sweeps], strict=True))
    ]


def study_table(study: Study) -> pd.DataFrame:
    """One row a run: the factor's value, what was reached, and what it took.

    Sorted by the factor if it is a number, else the best run first.
    """
    numeric = all(isinstance(value, int | float) for value in study.values)
    table = results_table(study.runs)
    table.insert(0, study.factor.name, study.values if numeric else described(study.values))
    by = study.factor.name if numeric else "val top-1 (%)"
    return table.sort_values(by, ascending=numeric, kind="stable", ignore_index=True)


def effects(studies: Sequence[Study]) -> Figure:
    """What depends on a number, such as the batch size: a point for each run, and a line through their means.

    All studies are of one factor, and it has `measures`: a panel for each. Only a controlled study has the line.
    """
    factor = studies[0].factor
    columns = min(len(factor.measures), 2)
    rows = -(-len(factor.measures) // columns)
    figure, axes = new_figure(5.2 * columns, 3.5 * rows + 0.2 * len(studies), rows, columns)
    for axis, measure in zip(axes.flat, factor.measures, strict=True):
        axis.set_xscale("log", base=factor.base)
        for place, study in enumerate(studies):
            table, colour = study_table(study).dropna(subset=measure), f"C{place % 10}"
            axis.plot(table[factor.name], table[measure], "o", color=colour, markersize=4, label=study.label)
            if study.controlled:
                axis.plot(table.groupby(factor.name)[measure].mean(), color=colour, linewidth=1.4)
        if factor.base == 2:
            ticks = sorted({value for study in studies for value in study.values})
            axis.set_xticks(ticks, [str(tick) for tick in ticks])
            axis.minorticks_off()
        axis.set(xlabel=factor.name, ylabel=factor.measures[measure])
        if "best" not in factor.measures[measure]:
            axis.set_ylim(bottom=0)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if any(labels):
        figure.legend(handles, labels, loc="outside lower center", fontsize=SMALL, frameon=False)
    return figure


def ranking(study: Study) -> Figure:
    """The best run with each value of a factor that is no number, such as the optimizer, best first."""
    measure = "val top-1 (%)"
    table = study_table(study).dropna(subset=measure).sort_values(measure, ascending=False, kind="stable")
    best = table.drop_duplicates(study.factor.name).head(BARS)
    colours = {run.label: run.colour for run in study.runs}
    figure, axes = new_figure(9, 0.9 + 0.36 * len(best))
    bars(axes[0, 0], list(best[study.factor.name]), [colours[label] for label in best["run"]], list(best[measure]))
    axes[0, 0].set_xlabel(f"best {measure}")
    return figure


def _grouped(runs: Sequence[Run], key: Callable[[Run], str]) -> list[list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return list(groups.values())


def _varying(groups: Sequence[list[Run]], factor: Factor) -> list[list[Run]]:
    """Those of the groups that have at least two values of the factor."""
    return [group for group in groups if len({frozen(factor.value(run.settings)) for run in group}) > 1]


def _sweep_and_kinds(run: Run, factor: Factor) -> str:
    """A trial's sweep and all its settings that are no numbers, so that two optimizers never share a line."""
    kinds = {
        name: component_name(value) if is_component(value) else value
        for name, value in factor.others(run).items()
        if not isinstance(value, int | float)
    }
    return f"{run.sweep} {frozen(kinds)}"
