"""What a sweep leaves besides its runs: trials.csv, best.yaml, and the lines that it prints."""

import math
from collections.abc import Sequence
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from tiny_imagenet.files import replace_csv, replace_text
from tiny_imagenet.sweep.definition import Sweep
from tiny_imagenet.sweep.study import point_of
from tiny_imagenet.sweep.training import metric_by_epoch


def write_results(sweep: Sweep, trials: Sequence[FrozenTrial]) -> None:
    """Write trials.csv, one row a trial, and best.yaml, the config of the best one if there is one yet."""
    columns = ["number", "state", "value", *sweep.search, "run", "seconds", "reason"]
    replace_csv(sweep.folder / "trials.csv", columns, [_row(trial) for trial in trials])
    if best := _best(sweep, trials):
        header = (
            f"# The best of {len(trials)} trials of the sweep {sweep.name}: {sweep.metric} {best.value:.6g} in trial "
            f"{best.number} ({_point(best)}).\n#   python training.py fit --config {sweep.folder / 'best.yaml'}\n"
        )
        replace_text(sweep.folder / "best.yaml", header + best.user_attrs["config"])


def trial_line(sweep: Sweep, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> str:
    """One line about a trial that has ended."""
    done = sum(other.state.is_finished() for other in trials)
    place = f"[{done}/{sweep.trials or len(trials)}] trial {trial.number}: {_point(trial)}"
    if trial.state == TrialState.FAIL:
        return f"{place} | failed: {trial.user_attrs['reason']} | {Path(trial.user_attrs['run']).parent / 'log.txt'}"
    value = "" if trial.value is None else f"{sweep.metric} {trial.value:.4f}"
    best = _best(sweep, trials)
    standing = f" (best {best.value:.4f}, trial {best.number})" if best else ""
    pruned = "pruned at " if trial.state == TrialState.PRUNED else ""
    return f"{place} | {pruned}{value}{standing} | {trial.user_attrs['run']}"


def summary(sweep: Sweep, trials: Sequence[FrozenTrial]) -> str:
    """How many trials ended how, and where the results are."""
    counts = {state.name.lower(): sum(trial.state == state for trial in trials) for state in TrialState}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    retry = " To run the failed ones again, add --retry_failed." if counts["fail"] else ""
    files = [sweep.folder / "trials.csv", *([sweep.folder / "best.yaml"] if counts["complete"] else [])]
    return f"{sweep.name}: {told}.{retry}\n" + "\n".join(f"  {path}" for path in files)


def _row(trial: FrozenTrial) -> dict[str, object]:
    run = trial.user_attrs.get("run", "")
    seconds = metric_by_epoch(Path(run), "seconds").values() if run else ()
    return {
        "number": trial.number,
        "state": trial.state.name,
        "value": trial.value if trial.state.is_finished() else None,
        **point_of(trial),
        "run": run,
        "seconds": round(math.fsum(seconds), 1) if seconds else None,
        "reason": trial.user_attrs.get("reason", ""),
    }


def _best(sweep: Sweep, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    sign = 1 if sweep.direction == "maximize" else -1
    return max(complete, key=lambda trial: sign * trial.value, default=None)


def _point(trial: FrozenTrial) -> str:
    return ", ".join(
        f"{key}={value:.6g}" if isinstance(value, float) else f"{key}={value}" for key, value in point_of(trial).items()
    )
