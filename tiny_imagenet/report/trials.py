"""What distinguishes the trials of a sweep, in the sweep's own words."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tiny_imagenet.report.artefacts import read_rows
from tiny_imagenet.report.runs import Run
from tiny_imagenet.report.settings import described, differing, frozen, short_name
from tiny_imagenet.run.result_tables import AFTER_POINT, BEFORE_POINT
from tiny_imagenet.run.seeds import SEED


def points(trials: Sequence[Run]) -> list[dict[str, str]]:
    """For each trial of one sweep, the values that not all of them share, as short text by short names.

    They are those of the sweep's trials.csv, where a value has the name that the sweep's file gives it; a trial that
    is not in it gets none. Without that file, they are the settings that differ, in full.
    """
    try:
        rows = _points_by_number(trials[0].sweep / "trials.csv")
        found = [rows.get(int(trial.trial.name.removeprefix("trial_"))) for trial in trials]
        names = next((list(point) for point in found if point), [])
        columns = {}
        for name in names:
            if len({frozen(point[name]) for point in found if point}) > 1:
                columns[_short(name)] = described([point and point[name] for point in found])
    except (OSError, ValueError, RecursionError):
        names = []
    if not names:
        return differing([trial.settings for trial in trials])
    if any(len(trial.each) > 1 for trial in trials):
        columns.pop(_short(SEED), None)
    return [{name: texts[row] for name, texts in columns.items()} if point else {} for row, point in enumerate(found)]


def _points_by_number(path: Path) -> dict[int, dict[str, Any]]:
    """The values of the options that a sweep varies, and the seed, by the number of the trial."""
    header, rows = read_rows(path, ["number"])
    others = {*BEFORE_POINT, *AFTER_POINT}
    every = (dict(zip(header, cells, strict=True)) for cells in rows)
    return {
        int(row["number"]): {name: _value(row[name]) for name in row if name not in others}
        for row in every
        if row["number"].isdecimal()
    }


def _value(cell: str) -> Any:
    """The value of a cell: a name is text, everything else is JSON; without a value the cell is empty."""
    try:
        return json.loads(cell or "null")
    except (ValueError, RecursionError):
        return cell


def _short(name: str) -> str:
    return "seed" if name == SEED else short_name(name)
