"""Tables of runs: settings, results and cost."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tiny_imagenet.report.choosing import best_first
from tiny_imagenet.report.runs import Run
from tiny_imagenet.report.settings import DATA, differing, short_name
from tiny_imagenet.report.text import printable, with_error

# The columns of runs that are shown first.
MAIN = (
    *("run", "seeds", "val top-1 (%)", "val top-5 (%)", "test top-1 (%)", "test top-5 (%)"),
    *("epochs", "minutes", "images/s"),
)
ACCURACIES_AND_COST = 8  # columns of results, after which settings follow
ERROR = "± "  # before a result's name: the column of its standard errors
FORMULA = tuple("=+-@\t\r")  # a spreadsheet runs a cell that begins with one of these


def runs_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run, the best first: all results, and the settings that differ between runs.

    Accuracies are in percent, memory is in MiB; missing results are NaN.
    """
    runs = best_first(runs)
    identity = pd.DataFrame(
        {
            "folder": [run.name for run in runs],
            "version": [run.version for run in runs],
            "arch": [run.settings.get("model.arch", "") for run in runs],
            "augmented": ["yes" if run.augmented else "no" for run in runs],
        }
    )
    varied = pd.DataFrame(differing([run.settings for run in runs])).drop(columns="arch", errors="ignore")
    results = results_table(runs)
    first = results.columns[: ACCURACIES_AND_COST + 1]
    return pd.concat([results[first], identity, varied, results.drop(columns=first)], axis=1)


def data_columns(table: pd.DataFrame) -> list[str]:
    """The columns of `runs_table` in which data sets differ."""
    return [name for name in map(short_name, DATA) if name in table]


def results_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run: best and last accuracies in percent, epochs, minutes, and how fast and large it was.

    `val top-1` and `val loss` are those of their best epochs, `val top-5` that of the epoch with the best top-1;
    all are the last epoch's where the validation images are the test images.
    Seconds an epoch, images/s and memory are medians over the epochs but the first, which warms up.
    Runs of several seeds have means; if there are any, their standard errors are in columns of their own, such as
    `± val top-1 (%)`, and `seeds` is their number.
    """
    table = pd.DataFrame([{"run": run.label, **run.results} for run in runs])
    if all(len(run.each) == 1 for run in runs):
        return table
    return table.assign(seeds=[len(run.each) for run in runs], **errors_of([run.errors for run in runs]))


def errors_of(every: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Columns of standard errors, for each run its errors by the name of a result; none if no run has any."""
    names = dict.fromkeys(name for errors in every for name in errors)
    return {f"{ERROR}{name}": [errors.get(name, np.nan) for errors in every] for name in names}


def in_markdown(table: pd.DataFrame) -> str:
    """A table as Markdown, numbers rounded and aligned to the right."""
    shown = shown_text(table)
    rule = ["---:" if pd.api.types.is_numeric_dtype(table[name]) else "---" for name in shown.columns]
    lines = [[printable(name) for name in shown.columns], rule, *shown.to_numpy().tolist()]
    return "".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |\n" for line in lines)


def in_csv(table: pd.DataFrame) -> str:
    """A table as CSV, with ten digits of each number; text that a spreadsheet would run gets an apostrophe in front."""
    safe = table.rename(columns=_harmless)
    for name in safe.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in safe.dtypes]]:
        safe[name] = safe[name].map(_harmless)
    return safe.to_csv(index=False, lineterminator="\n", float_format="%.10g")


def shown_text(table: pd.DataFrame) -> pd.DataFrame:
    """A table as shown: every cell as text, NaN as an empty one, and means with their standard errors."""
    texts = {name: [_shown(name, value) for value in table[name]] for name in table.columns}
    for name in table.columns:
        if name.startswith(ERROR) and (of := name.removeprefix(ERROR)) in texts:
            texts[of] = list(map(with_error, texts[of], table[name]))
    return pd.DataFrame({name: cells for name, cells in texts.items() if not name.startswith(ERROR)}, dtype=str)


def _shown(name: str, value: object) -> str:
    if isinstance(value, float):
        if pd.isna(value):
            return ""
        if "(%)" in name:
            return f"{value:.2f}"
        if abs(value) < 1e7:
            if name == "minutes" or "seconds" in name:
                return f"{value:.1f}"
            if value.is_integer() or abs(value) >= 100:
                return f"{value:,.0f}"
        return f"{value:.4g}"
    return printable(value)


def _harmless(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
