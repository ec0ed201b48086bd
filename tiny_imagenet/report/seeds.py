"""Runs that differ only in their seed, as one run: the means of their curves and results, and how certain they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from tiny_imagenet.report.finding import labelled
from tiny_imagenet.report.runs import Run
from tiny_imagenet.report.settings import frozen
from tiny_imagenet.run.seeds import mean_of

SEED = "seed"


@dataclass(frozen=True, eq=False)
class Repeated(Run):
    """Runs that differ only in their seed, as one run.

    Curves, results and condition numbers are means over `each`, without those that one of the runs lacks. What has no
    mean is that of one of them, a tested one if there is any: the folder, the tables of classes.
    """

    each: Sequence[Run] = ()

    @cached_property
    def settings(self) -> dict[str, Any]:
        return {**self.each[0].settings, SEED: [run.settings.get(SEED) for run in self.each]}

    def best(self, metric: str = "val/top1") -> float:
        """The mean of the runs' best values; see `Run.best`."""
        return mean_of([run.best(metric) for run in self.each]).value

    @cached_property
    def results(self) -> dict[str, float]:
        return {name: mean_of(self._of_each(name)).value for name in self.each[0].results}

    @cached_property
    def errors(self) -> dict[str, float]:
        return {
            name: mean_of(self._of_each(name)).error for name in self.results if "top-" in name or name.endswith("loss")
        }

    def _of_each(self, name: str) -> list[float]:
        return [run.results[name] for run in self.each]


def over_seeds(runs: Sequence[Run]) -> list[Run]:
    """The runs, with those that differ only in their seed as one, where the first of them was.

    Only runs with all their epochs count. Of several with one seed the last counts; the others stay as they are.
    """
    groups: dict[str, dict[str, Run]] = {}
    for run in runs:
        if run.finished:
            alike = frozen([{**run.settings, SEED: None}, run.metrics["epoch"].tolist()])
            groups.setdefault(alike, {})[frozen(run.settings.get(SEED))] = run
    repeated = {run: list(group.values()) for group in groups.values() if len(group) > 1 for run in group.values()}
    if not repeated:
        return list(runs)
    found = {}
    for run in runs:
        group = repeated.get(run, [run])
        if group[0] not in found:
            found[group[0]] = _as_one(group) if len(group) > 1 else run
    return labelled(list(found.values()))


def _as_one(runs: Sequence[Run]) -> Repeated:
    shown = next((run for run in runs if len(run.per_class)), runs[0])
    means = {
        "metrics": pd.DataFrame(_means([run.metrics for run in runs])),
        "test": _means([run.test for run in runs]),
        "conditions": _mean_conditions([shown, *runs]),
    }
    return Repeated(**({field.name: getattr(shown, field.name) for field in fields(Run)} | means), each=runs)


def _means(every: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The means of what all have, by name."""
    names = [name for name in every[0] if all(name in each for each in every)]
    return {name: np.mean([np.asarray(each[name], dtype=float) for each in every], axis=0) for name in names}


def _mean_conditions(runs: Sequence[Run]) -> pd.DataFrame:
    """The mean condition number of each layer and epoch; the first run's if others have other layers or epochs."""
    first, *others = (run.conditions for run in runs)
    places = ["epoch", "layer"]
    if not all(first[places].equals(other[places]) for other in others):
        return first
    return first.assign(condition_number=np.mean([other["condition_number"] for other in others], axis=0))
