"""The runs in a folder, finished or not, under names and colours that stay the same in every figure."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex, to_rgb

from tiny_imagenet.errors import UserError
from tiny_imagenet.report.artefacts import CONDITION_COLUMNS, read_conditions, read_metrics, read_table, read_test
from tiny_imagenet.report.runs import CONFUSION, Run
from tiny_imagenet.report.settings import described, frozen
from tiny_imagenet.report.text import cut, printable
from tiny_imagenet.report.trials import points
from tiny_imagenet.run.folder import CHECKPOINTS, CONFIG, METRICS, read_config, run_of, version_of
from tiny_imagenet.run.protocol import read_protocol
from tiny_imagenet.run.result_tables import CONFUSION_COLUMNS, PER_CLASS_COLUMNS

LABEL_LENGTH = 48
FIRST_LINES = 2000  # characters


class Found(NamedTuple):
    """The runs of a folder, and what was left out: where → why."""

    runs: list[Run]
    skipped: dict[str, str]


def find_runs(place: str | Path) -> Found:
    """Read all runs in a folder, at any depth; `place` may also be one run's folder, or a checkpoint in it.

    Raises:
        UserError: there is no such folder, or no run in it has finished an epoch.
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
        where = printable(folder.relative_to(root).as_posix() if folder != root else folder.name)
        try:
            runs.append(_read(root, folder, where, skipped))
        except Exception as error:  # whatever it is, the other runs are shown
            skipped[where] = _reason(error, folder)
    if not runs:
        reasons = "".join(f"\n  {where}: {why}" for where, why in skipped.items())
        raise UserError(f"{printable(root)} holds no run that has finished an epoch.{reasons}")
    return Found(labelled(sorted(runs, key=lambda run: (_natural(run.name), run.version))), skipped)


def _run_folders(root: Path) -> Iterator[Path]:
    """The folders that have a run's files, by name; links are not followed."""
    folders = [root]
    while folders:  # os.walk fails below a thousand folders in one another
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                is_folder = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        except OSError:
            continue
        if is_folder.get(METRICS) is False or is_folder.get(CONFIG) is False:
            yield folder  # A run's logger may have a metrics.csv of its own, further down.
            continue
        inside = (name for name, has_more in is_folder.items() if has_more and not name.startswith("."))
        folders += [folder / name for name in sorted(inside, reverse=True) if name != CHECKPOINTS]


def _read(root: Path, folder: Path, where: str, skipped: dict[str, str]) -> Run:
    """Read a run. Unreadable results of its test are named in `skipped`, and the run is kept without them."""

    def optional(name: str, read: Callable[[Path], Any], without: Any) -> Any:
        try:
            return read(folder / name)
        except FileNotFoundError:
            return without
        except Exception as error:
            skipped[f"{where}/{name}"] = _reason(error, folder)
            return without

    def table(name: str, columns: Sequence[str]) -> pd.DataFrame:
        return optional(name, lambda path: read_table(path, columns), pd.DataFrame(columns=columns))

    named = folder if version_of(folder) is None else folder.parent
    config = read_config(folder)
    run = Run(
        folder=folder,
        name=printable(named.relative_to(root).as_posix() if root in named.parents else named.name),
        version=version_of(folder) or 0,
        config=config,
        metrics=read_metrics(folder / METRICS),
        test=optional("test_metrics.json", read_test, {}),
        per_class=table("per_class.csv", PER_CLASS_COLUMNS),
        conditions=optional(
            "condition_numbers.csv", read_conditions, pd.DataFrame(columns=CONDITION_COLUMNS, dtype=float)
        ),
        protocol=read_protocol(folder, config),
    )
    # Only the first lines of the largest table are checked now: it is read for the few runs that show it.
    optional(CONFUSION, lambda path: read_table(path, CONFUSION_COLUMNS, characters=FIRST_LINES), None)
    # What is bad must fail here, where only this run is skipped, and not later in a table of all runs.
    frozen(run.settings)
    described(list(run.settings.values()))
    _ = run.results, run.layer_conditions
    return run


def _reason(error: Exception, folder: Path) -> str:
    if isinstance(error, FileNotFoundError):
        return f"no {Path(error.filename).name}"
    if isinstance(error, OSError | ValueError | UserError):  # says what it is
        return printable(str(error).removeprefix(f"{folder}{os.sep}"))
    return printable(f"not readable: {type(error).__name__}: {error}")


def _natural(name: str) -> list[str]:
    return [part.zfill(9) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def labelled(runs: list[Run]) -> list[Run]:
    """The runs with distinct labels and colours.

    A sweep's trials are labelled with what the sweep varies, and a run of several seeds with their number.
    """
    varied: dict[Path, str] = {}
    sweeps: dict[Path, list[Run]] = {}
    for run in runs:
        if run.sweep:
            sweeps.setdefault(run.sweep, []).append(run)
    for trials in sweeps.values():
        for trial, texts in zip(trials, points(trials), strict=True):
            named = (text if _is_telling(text) else f"{name} {text}" for name, text in texts.items())
            varied[trial.folder] = ", ".join(named)
    versions = Counter(run.name for run in runs)
    found = []
    for place, run in enumerate(runs):
        label = run.name.replace("trial_", "") + (f" v{run.version}" if versions[run.name] > 1 else "")
        label += f": {varied[run.folder]}" if varied.get(run.folder) else ""
        seeds = f" ({len(run.each)} seeds)" if len(run.each) > 1 else ""
        found.append(replace(run, label=cut(label, LABEL_LENGTH - len(seeds)) + seeds, colour=_colour(place)))
    return found


def _is_telling(text: str) -> bool:
    """Whether a value needs no name before it: a class or an architecture, but not a number."""
    return text[:1].isalpha() and text not in ("yes", "no", "none")


def _colour(place: int) -> str:
    """Ten colours that differ well, then the same ones darker, lighter, darkest and lightest."""
    towards, share = [("black", 0.0), ("black", 0.35), ("white", 0.4), ("black", 0.6), ("white", 0.6)][place // 10 % 5]
    mixed = (1 - share) * np.array(to_rgb(f"C{place % 10}")) + share * np.array(to_rgb(towards))
    return to_hex(mixed)
