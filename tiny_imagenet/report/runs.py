"""Runs as they lie on the disk, finished or not, under names and colours that stay the same in every figure."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex, to_rgb

from tiny_imagenet.errors import UserError
from tiny_imagenet.report.artefacts import read_metrics, read_table, read_test
from tiny_imagenet.report.settings import differing, settings
from tiny_imagenet.run.checkpoint_files import checkpoint_to_test
from tiny_imagenet.run.folder import CONFIG, METRICS, read_config, run_of, version_of
from tiny_imagenet.run.protocol import validates_on_test
from tiny_imagenet.run.result_tables import CONFUSION_COLUMNS, PER_CLASS_COLUMNS

CONDITION_COLUMNS = ["epoch", "layer", "condition_number"]
LABEL_LENGTH = 48


@dataclass(frozen=True, eq=False)
class Run:
    """A run, as far as it has come.

    `name` and `version` are those of its folder, `label` is what figures call it and `colour` what they draw it in.
    `metrics` has a row for each finished epoch, `test` what test_metrics.json says (empty before the test).
    `per_class`, `confusion` and `conditions` (condition numbers) are the tables that the run left, or empty ones.
    `validates_on_test` says that its validation images are the test images.
    """

    folder: Path
    name: str
    version: int
    config: Mapping[str, Any]
    metrics: pd.DataFrame
    test: Mapping[str, float]
    per_class: pd.DataFrame
    confusion: pd.DataFrame
    conditions: pd.DataFrame
    validates_on_test: bool = False
    label: str = ""
    colour: str = "black"

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The config's settings by dotted name; see `report.settings`."""
        return settings(self.config)

    @cached_property
    def _epochs(self) -> np.ndarray:
        return self.metrics["epoch"].to_numpy().astype(int) + 1

    @property
    def augmented(self) -> bool:
        return bool(self.settings.get("data.augment") or self.settings.get("data.mix"))

    @property
    def sweep(self) -> Path | None:
        """The folder of the sweep that the run is a trial of, if it is."""
        trial = self.folder.parent if version_of(self.folder) is not None else self.folder
        return trial.parent if re.fullmatch(r"trial_\d+", trial.name) else None

    @property
    def checkpoint(self) -> Path | None:
        """The checkpoint to test; None where there is none."""
        return checkpoint_to_test(self.folder)

    def values(self, metric: str) -> pd.Series:
        """A column of metrics.csv by the number of finished epochs, without those that have no value of it."""
        if metric not in self.metrics:
            return pd.Series(dtype=float)
        values = self.metrics[metric].to_numpy()
        return pd.Series(values, self._epochs, name=metric)[~np.isnan(values)]

    def best_epoch(self, metric: str = "val/top1") -> int | None:
        """The number of epochs after which the metric was best, a loss lowest; None where it never was taken.

        It is the last where the validation images are the test images, by which none is to be chosen.
        """
        values = self.values(metric)
        if not len(values):
            return None
        if self.validates_on_test:
            return values.index[-1]
        return values.idxmin() if metric.endswith("loss") else values.idxmax()

    def best(self, metric: str = "val/top1") -> float:
        """The best epoch's value, see `best_epoch`; NaN where there is none."""
        return self.values(metric).get(self.best_epoch(metric), float("nan"))


class Found(NamedTuple):
    """The runs of a folder, and what was left out: where → why."""

    runs: list[Run]
    skipped: dict[str, str]


def find_runs(place: str | Path) -> Found:
    """Read all runs in a folder, at any depth; a run's own folder, or a checkpoint in it, is fine too.

    Raises:
        UserError: there is no such folder, or it holds no run that has finished an epoch.
    """
    root = Path(place).resolve()
    if root.is_file():
        root = run_of(root)
    if not root.is_dir():
        raise UserError(
            f"{place} is not there. Give the folder that holds the runs: python -m tiny_imagenet.report RUNS"
        )
    runs: list[Run] = []
    skipped: dict[str, str] = {}
    for folder in _run_folders(root):
        where = folder.relative_to(root).as_posix() if folder != root else folder.name
        try:
            runs.append(_read(root, folder, where, skipped))
        except (OSError, ValueError, UserError) as error:
            skipped[where] = _reason(error).removeprefix(f"{folder}{os.sep}")
    if not runs:
        reasons = "".join(f"\n  {where}: {why}" for where, why in skipped.items())
        raise UserError(f"{root} holds no run that has finished an epoch.{reasons}")
    return Found(_labelled(sorted(runs, key=lambda run: (_natural(run.name), run.version))), skipped)


def _run_folders(root: Path) -> Iterator[Path]:
    for folder, inside, files in os.walk(root):
        inside[:] = sorted(name for name in inside if name != "checkpoints" and not name.startswith("."))
        if METRICS in files or CONFIG in files:
            yield Path(folder)


def _read(root: Path, folder: Path, where: str, skipped: dict[str, str]) -> Run:
    """A run. What testing left and cannot be read is told in `skipped`, and the run taken as one without it."""

    def optional(name: str, read: Callable[[Path], Any], without: Any) -> Any:
        try:
            return read(folder / name)
        except FileNotFoundError:
            return without
        except (OSError, ValueError) as error:
            skipped[f"{where}/{name}"] = _reason(error)
            return without

    def table(name: str, columns: Sequence[str]) -> pd.DataFrame:
        return optional(name, lambda path: read_table(path, columns), pd.DataFrame(columns=columns))

    named = folder if version_of(folder) is None else folder.parent
    return Run(
        folder=folder,
        name=named.relative_to(root).as_posix() if root in named.parents else named.name,
        version=version_of(folder) or 0,
        config=read_config(folder),
        metrics=read_metrics(folder / METRICS),
        test=optional("test_metrics.json", read_test, {}),
        per_class=table("per_class.csv", PER_CLASS_COLUMNS),
        confusion=table("confusion.csv", CONFUSION_COLUMNS),
        conditions=table("condition_numbers.csv", CONDITION_COLUMNS),
        validates_on_test=validates_on_test(folder),
    )


def _reason(error: Exception) -> str:
    return f"no {Path(error.filename).name}" if isinstance(error, FileNotFoundError) else str(error)


def _natural(name: str) -> list[str]:
    return [part.zfill(9) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _labelled(runs: list[Run]) -> list[Run]:
    """The runs with labels that tell them apart, a sweep's trials by what the sweep varies, and colours."""
    varied: dict[Path, str] = {}
    for sweep in {run.sweep for run in runs if run.sweep}:
        trials = [run for run in runs if run.sweep == sweep]
        for trial, texts in zip(trials, differing([trial.settings for trial in trials]), strict=True):
            # A number needs its name, a class or an architecture does not.
            named = (text if text[0].isalpha() else f"{name} {text}" for name, text in texts.items())
            varied[trial.folder] = ", ".join(named)
    versions = Counter(run.name for run in runs)
    labelled = []
    for place, run in enumerate(runs):
        label = run.name.replace("trial_", "") + (f" v{run.version}" if versions[run.name] > 1 else "")
        label += f": {varied[run.folder]}" if varied.get(run.folder) else ""
        label = label if len(label) <= LABEL_LENGTH else f"{label[: LABEL_LENGTH - 1]}…"
        labelled.append(replace(run, label=label, colour=_colour(place)))
    return labelled


def _colour(place: int) -> str:
    """Ten colours that differ well, then the same ones darker, lighter, darkest and lightest."""
    towards, share = [("black", 0.0), ("black", 0.35), ("white", 0.4), ("black", 0.6), ("white", 0.6)][place // 10 % 5]
    mixed = (1 - share) * np.array(to_rgb(f"C{place % 10}")) + share * np.array(to_rgb(towards))
    return to_hex(mixed)
