"""Which runs are best: by validation, and within one data set, since accuracies on others do not compare."""

from collections.abc import Sequence

import numpy as np

from tiny_imagenet.report.runs import Run
from tiny_imagenet.report.settings import DATA, described, frozen, short_name


def by_data(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs grouped by data set and protocol, the largest group first, each in the runs' order."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(frozen([run.settings.get(name) for name in DATA]), []).append(run)
    return sorted(groups.values(), key=len, reverse=True)


def data_text(run: Run) -> str:
    """What a run's accuracies are measured on, such as "TinyImageNetDataModule, classes 10, train_images 4500"."""
    shown = [(name, run.settings[name]) for name in DATA if name in run.settings]
    texts = described([value for _, value in shown])
    return ", ".join(
        text if name == "data" else f"{short_name(name)} {text}" for (name, _), text in zip(shown, texts, strict=True)
    )


def best_first(runs: Sequence[Run], metric: str = "top1") -> list[Run]:
    """The runs by their best validation top-1, top-5 or loss, those without any last."""
    values = np.array([run.best(f"val/{metric}") for run in runs], dtype=float)
    # NaN is sorted last.
    return [runs[place] for place in np.argsort(values if metric == "loss" else -values, kind="stable")]


def best_of_each_data(runs: Sequence[Run]) -> list[Run]:
    """The best run of each data set, the set with the most runs first; sets that no run was validated on have none."""
    best = [best_first(group)[0] for group in by_data(runs)]
    return [run for run in best if not np.isnan(run.best())]


def best_few(runs: Sequence[Run], most: int) -> list[Run]:
    """At most `most` runs: the best of each data set, then the second best of each, and so on."""
    ranked = [best_first(group) for group in by_data(runs)]
    rounds = (
        group[place] for place in range(max(map(len, ranked), default=0)) for group in ranked if place < len(group)
    )
    return [run for run, _ in zip(rounds, range(most), strict=False)]
