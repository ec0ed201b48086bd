"""A run as read from its files: settings, curves and results."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tiny_imagenet.report.artefacts import read_table
from tiny_imagenet.report.settings import settings, with_protocol
from tiny_imagenet.run.best_epoch import best_row
from tiny_imagenet.run.checkpoint_files import checkpoint_to_test
from tiny_imagenet.run.folder import version_of
from tiny_imagenet.run.metric_names import IMAGE_SIZE
from tiny_imagenet.run.protocol import Protocol
from tiny_imagenet.run.result_tables import CONFUSION_COLUMNS

CONFUSION = "confusion.csv"


@dataclass(frozen=True, eq=False)
class Run:
    """A run, finished or not.

    `name` and `version` are those of its folder, `label` is what figures call it and `colour` what they draw it in.
    `metrics` has a row for each finished epoch, `test` what test_metrics.json says (empty before the test).
    `per_class`, `conditions` (condition numbers) and `confusion` are the tables that the run left, or empty ones.
    """

    folder: Path
    name: str
    version: int
    config: Mapping[str, Any]
    metrics: pd.DataFrame
    test: Mapping[str, float]
    per_class: pd.DataFrame
    conditions: pd.DataFrame
    protocol: Protocol
    label: str = ""
    colour: str = "black"

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The config's settings and the protocol's numbers by dotted name; see `report.settings`."""
        return with_protocol(settings(self.config), self.protocol)

    @cached_property
    def confusion(self) -> pd.DataFrame:
        """The nonzero cells of the confusion matrix; empty if its file is missing or damaged."""
        try:
            return read_table(self.folder / CONFUSION, CONFUSION_COLUMNS)
        except (OSError, ValueError):
            return pd.DataFrame(columns=CONFUSION_COLUMNS)

    @property
    def validates_on_test(self) -> bool:
        return self.protocol.validates_on_test

    @property
    def augmented(self) -> bool:
        return bool(self.settings.get("data.augment") or self.settings.get("data.mix"))

    @property
    def each(self) -> "Sequence[Run]":
        """The runs that this one is the mean of; see `report.over_seeds`."""
        return (self,)

    @property
    def errors(self) -> Mapping[str, float]:
        """The standard errors of those results that are means over several seeds."""
        return {}

    @property
    def finished(self) -> bool:
        """Whether it has done all its epochs."""
        return len(self.metrics) >= self.settings.get("trainer.max_epochs", 0)

    @property
    def trial(self) -> Path | None:
        """The trial's folder if the run is one of a sweep."""
        folder = self.folder.parent if version_of(self.folder) is not None else self.folder
        return folder if re.fullmatch(r"trial_\d{1,9}", folder.name, re.ASCII) else None

    @property
    def sweep(self) -> Path | None:
        """The sweep's folder if the run is a trial of one."""
        return self.trial and self.trial.parent

    @property
    def checkpoint(self) -> Path | None:
        """The checkpoint to test; None if there is none."""
        return checkpoint_to_test(self.folder)

    def values(self, metric: str) -> pd.Series:
        """A column of metrics.csv by the number of finished epochs, without the epochs that lack it."""
        if metric not in self._values:
            found = self.metrics[metric].to_numpy() if metric in self.metrics else np.full(len(self.metrics), np.nan)
            known = ~np.isnan(found)
            self._values[metric] = pd.Series(found[known], self._epochs[known], name=metric)
        return self._values[metric]

    def best_epoch(self, metric: str = "val/top1") -> int | None:
        """The number of epochs after which the metric was best, a loss lowest; None if it was never measured.

        It is the last epoch if the validation images are the test images, which must not choose one. For progressive
        training see `best_row`.
        """
        values = self.values(metric)
        if not len(values):
            return None
        if self.validates_on_test:
            return values.index[-1]
        sizes = self.values(IMAGE_SIZE)
        rows = [{"epochs": epochs, metric: value, IMAGE_SIZE: sizes.get(epochs)} for epochs, value in values.items()]
        best = best_row(rows, metric, "min" if metric.endswith("loss") else "max")
        return best and best["epochs"]

    def best(self, metric: str = "val/top1") -> float:
        """The best epoch's value, see `best_epoch`; NaN where there is none."""
        return _at(self.values(metric), self.best_epoch(metric))

    @cached_property
    def results(self) -> dict[str, float]:
        """Accuracies, losses and cost; see `report.results_table`."""
        top1, seconds = self.values("val/top1"), self.values("seconds")
        return {
            "val top-1 (%)": 100 * self.best("val/top1"),
            "val top-5 (%)": 100 * _at(self.values("val/top5"), self.best_epoch()),
            "test top-1 (%)": 100 * self.test.get("top1", np.nan),
            "test top-5 (%)": 100 * self.test.get("top5", np.nan),
            "epochs": len(self.metrics),
            "of": self.settings.get("trainer.max_epochs", np.nan),
            "minutes": seconds.to_numpy().sum() / 60 if len(seconds) else np.nan,
            "images/s": _typical(self.values("images_per_s")),
            "train top-1 last (%)": 100 * _last(self.values("train/top1")),
            "val top-1 last (%)": 100 * _last(top1),
            "val top-1 median of last ten (%)": 100 * _median(top1.to_numpy()[-10:]),
            "val loss": self.best("val/loss"),
            "seconds an epoch": _typical(seconds),
            "memory (MiB)": _typical(self.values("memory")),
        }

    @cached_property
    def layer_conditions(self) -> pd.DataFrame:
        """Condition numbers [epochs, layers], by the number of finished epochs, layers in the file's order."""
        rows = self.conditions.dropna()
        epochs, epoch_names = pd.factorize(rows["epoch"].to_numpy(dtype=float), sort=True)
        layers, layer_names = pd.factorize(rows["layer"].to_numpy())
        table = np.full((len(epoch_names), len(layer_names)), np.nan)
        table[epochs, layers] = rows["condition_number"].to_numpy(dtype=float)
        return pd.DataFrame(table, index=epoch_names.astype(int) + 1, columns=layer_names)

    @cached_property
    def _epochs(self) -> np.ndarray:
        return self.metrics["epoch"].to_numpy().astype(int) + 1

    @cached_property
    def _values(self) -> dict[str, pd.Series]:
        return {}


def _at(values: pd.Series, epoch: int | None) -> float:
    return values.get(epoch, np.nan)


def _last(values: pd.Series) -> float:
    return values.iloc[-1] if len(values) else np.nan


def _typical(values: pd.Series) -> float:
    """The median without the first epoch, which warms up."""
    return _median(values.to_numpy()[1:] if len(values) > 1 else values.to_numpy())


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else np.nan
