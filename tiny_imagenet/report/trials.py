"""What distinguishes the trials of a sweep, in the sweep's own words."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from tiny_imagenet.report.artefacts import LARGEST_TABLE
from tiny_imagenet.report.runs import Run
from tiny_imagenet.report.settings import differing, short_name
from tiny_imagenet.report.text import printable
from tiny_imagenet.run.bounded import read_file

# The columns of trials.csv besides the options that a sweep varies; see `sweep.results`.
OTHER_COLUMNS = ("number", "state", "value", "run", "seconds", "reason")
SEED_COLUMN = "seed_everything"


def points(trials: Sequence[Run]) -> list[dict[str, str]]:
    """For each trial of one sweep, the values that not all of them share, as short text by short names.

    They are those of the sweep's trials.csv, where a value has the name that the sweep's file gives it. Without that
    file, they are the settings that differ, in full.
    """
    try:
        rows = _rows(trials[0].sweep / "trials.csv")
        mine = [rows[trial.name.rpartition("trial_")[2].lstrip("0") or "0"] for trial in trials]
    except (OSError, ValueError, LookupError, csv.Error):
        return differing([trial.settings for trial in trials])
    several_seeds = any(len(trial.each) > 1 for trial in trials)
    varied = [name for name in mine[0] if len({row[name] for row in mine}) > 1]
    return [
        {_short(name): _shown(row[name]) for name in varied if not (several_seeds and name == SEED_COLUMN)}
        for row in mine
    ]


def _rows(path: Path) -> dict[str, Mapping[str, str]]:
    """The point of each trial by its number."""
    reader = csv.DictReader(io.StringIO(read_file(path, LARGEST_TABLE).decode()), restval="")
    others = (*OTHER_COLUMNS, None)
    return {row["number"]: {name: value for name, value in row.items() if name not in others} for row in reader}


def _short(name: str) -> str:
    return "seed" if name == SEED_COLUMN else short_name(name)


def _shown(text: str) -> str:
    if text in (words := {"": "none", "True": "yes", "False": "no"}):
        return words[text]
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return printable(text, 60)
