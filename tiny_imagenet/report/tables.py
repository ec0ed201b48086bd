"""Tables of runs: what was set, what was reached, and what it took."""

from collections.abc import Sequence

import pandas as pd

from tiny_imagenet.report.runs import Run
from tiny_imagenet.report.settings import differing


def runs_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run, in their order: its settings that aren't the same in all of them, and all results.

    Accuracies are in percent, memory is in MiB; what a run doesn't have (yet) is NaN.
    """
    identity = pd.DataFrame(
        {
            "run": [run.name for run in runs],
            "version": [run.version for run in runs],
            "arch": [run.settings.get("model.arch", "") for run in runs],
            "augmented": ["yes" if run.augmented else "no" for run in runs],
        }
    )
    varied = pd.DataFrame(differing([run.settings for run in runs])).drop(columns="arch", errors="ignore")
    return pd.concat([identity, results_table(runs).drop(columns="run"), varied], axis=1)


def results_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run: epochs, best and last accuracies in percent, minutes, and how fast and large it was.

    `val top-1` and `val loss` are those of their best epochs, `val top-5` that of the epoch with the best top-1;
    all are the last epoch's where the validation images are the test images.
    Seconds an epoch, images/s and memory are medians over the epochs but the first, which warms up.
    """
    rows = []
    for run in runs:
        top1, top5 = run.values("val/top1"), run.values("val/top5")
        rows.append(
            {
                "run": run.label,
                "epochs": len(run.metrics),
                "of": run.settings.get("trainer.max_epochs", float("nan")),
                "train top-1 last (%)": 100 * _last(run.values("train/top1")),
                "val top-1 (%)": 100 * run.best("val/top1"),
                "val top-1 last (%)": 100 * _last(top1),
                "val top-1 median of last ten (%)": 100 * top1.iloc[-10:].median(),
                "val top-5 (%)": 100 * top5.get(run.best_epoch(), float("nan")),
                "val loss": run.best("val/loss"),
                "test top-1 (%)": 100 * run.test.get("top1", float("nan")),
                "test top-5 (%)": 100 * run.test.get("top5", float("nan")),
                "minutes": run.values("seconds").sum() / 60 if len(run.values("seconds")) else float("nan"),
                "seconds an epoch": _typical(run.values("seconds")),
                "images/s": _typical(run.values("images_per_s")),
                "memory (MiB)": _typical(run.values("memory")),
            }
        )
    return pd.DataFrame(rows)


def in_markdown(table: pd.DataFrame) -> str:
    """A table as Markdown, numbers rounded to what is worth reading and aligned to the right."""
    shown = shown_text(table)
    rule = ["---:" if pd.api.types.is_numeric_dtype(table[name]) else "---" for name in table.columns]
    lines = [list(table.columns), rule, *shown.to_numpy().tolist()]
    return "".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |\n" for line in lines)


def shown_text(table: pd.DataFrame) -> pd.DataFrame:
    """A table as it is read: every cell as text, NaN as nothing."""
    return pd.DataFrame({name: [_shown(name, value) for value in table[name]] for name in table.columns}, dtype=str)


def _shown(name: str, value: object) -> str:
    if isinstance(value, float):
        if pd.isna(value):
            return ""
        if "(%)" in name:
            return f"{value:.2f}"
        if name == "minutes" or "seconds" in name:
            return f"{value:.1f}"
        return f"{value:,.0f}" if value.is_integer() or 100 <= abs(value) < 1e7 else f"{value:.4g}"
    return str(value)


def _last(values: pd.Series) -> float:
    return values.iloc[-1] if len(values) else float("nan")


def _typical(values: pd.Series) -> float:
    return (values.iloc[1:] if len(values) > 1 else values).median()
