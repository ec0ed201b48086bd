"""What a sweep writes besides its runs: trials.csv, best.yaml, and the lines that it prints."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from tiny_imagenet.cli.printed import module_command, training_command
from tiny_imagenet.files import replace_csv, replace_text
from tiny_imagenet.run.metric_names import is_accuracy
from tiny_imagenet.run.result_tables import AFTER_POINT, BEFORE_POINT
from tiny_imagenet.run.seeds import SEED
from tiny_imagenet.sweep.claim import Claim
from tiny_imagenet.sweep.definition import Sweep
from tiny_imagenet.sweep.points import Best, best_point, point_of, seed_of
from tiny_imagenet.sweep.training import metric_by_epoch


def write_results(sweep: Sweep, trials: Sequence[FrozenTrial]) -> None:
    """Write trials.csv, one row per trial, and best.yaml, the config of the best point, once a trial is complete."""
    seed = [SEED] if sweep.has_seeds else []
    columns = [*BEFORE_POINT, *sweep.search, *seed, *AFTER_POINT]
    replace_csv(sweep.folder / "trials.csv", columns, [_row(sweep, trial) for trial in trials])
    if best := best_point(sweep, trials):
        header = (
            f"# The best of {len(trials)} trials of the sweep {sweep.name}: {sweep.metric} {_mean(sweep, best)} in "
            f"{_numbers(best)} ({_point(point_of(best.trials[0]))}).\n"
            f"#   {training_command('fit', '--config', str(sweep.folder / 'best.yaml'))}\n"
        )
        replace_text(sweep.folder / "best.yaml", header + best.trials[0].user_attrs["config"])


def start_line(sweep: Sweep, trials: Sequence[FrozenTrial]) -> str:
    """The line printed when a sweep starts: how many trials it has, and where their logs are."""
    finished = sum(trial.state.is_finished() for trial in trials)
    before = f", {finished} finished before" if finished else ""
    total = _total(sweep, trials)
    seeds = f", {len(sweep.seeds)} seeds for each point" if len(sweep.seeds) > 1 else ""
    logs = sweep.folder / "trial_*" / "log.txt"
    return f"{sweep.name}: {total} trial{'s' if total > 1 else ''}{seeds}{before}. Logs: {logs}"


def trial_start_line(claim: Claim) -> str:
    """The line printed when a trial starts or resumes."""
    verb = "resumes" if claim.resuming() else "starts"
    return f"trial {claim.number} {verb}: {_point(claim.point, claim.seed)} | {claim.log}"


def trial_line(sweep: Sweep, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> str:
    """The line printed when a trial has ended."""
    finished = sum(other.state.is_finished() for other in trials)
    done = f"[{finished}/{_total(sweep, trials)}]"
    head = f"{done} trial {trial.number}: {_point(point_of(trial), seed_of(trial))}"
    if trial.state == TrialState.FAIL:
        return f"{head} | failed: {trial.user_attrs['reason']} | {Path(trial.user_attrs['run']).parent / 'log.txt'}"
    value = "" if trial.value is None else f"{sweep.metric} {_figure(sweep, trial.value)}"
    best = best_point(sweep, trials)
    comparison = f" (best {_mean(sweep, best)}, {_numbers(best)})" if best else ""
    pruned = "pruned at " if trial.state == TrialState.PRUNED else ""
    return f"{head} | {pruned}{value}{comparison} | {trial.user_attrs['run']}"


def summary(sweep: Sweep, trials: Sequence[FrozenTrial]) -> str:
    """The lines printed at the end: the number of trials in each state, the files, and the command of the report."""
    counts = {state.name.lower(): sum(trial.state == state for trial in trials) for state in TrialState}
    states = ", ".join(f"{count} {_STATES.get(name, name)}" for name, count in counts.items() if count)
    retry = " To run failed trials again, add --retry_failed." if counts["fail"] else ""
    lines = [f"{sweep.name}: {states}.{retry}", f"  {sweep.folder / 'trials.csv'}"]
    if counts["complete"]:
        lines.append(f"  {sweep.folder / 'best.yaml'}")
        lines.append(f"To compare the trials: {module_command('tiny_imagenet.report', str(sweep.folder))}")
    return "\n".join(lines)


_STATES = {"fail": "failed"}  # other states are shown by Optuna's names


def _row(sweep: Sweep, trial: FrozenTrial) -> dict[str, object]:
    run = trial.user_attrs.get("run", "")
    seconds = metric_by_epoch(Path(run), "seconds").values() if run else ()
    return {
        "number": trial.number,
        "state": trial.state.name,
        "value": trial.value if trial.state.is_finished() else None,
        **point_of(trial),
        **({SEED: seed_of(trial)} if sweep.has_seeds else {}),
        "run": run,
        "seconds": round(math.fsum(seconds), 1) if seconds else None,
        "reason": trial.user_attrs.get("reason", ""),
    }


def _total(sweep: Sweep, trials: Sequence[FrozenTrial]) -> int:
    return sweep.trials * len(sweep.seeds) if sweep.trials else len(trials)


def _mean(sweep: Sweep, best: Best) -> str:
    """The mean of the best point, and its standard error if it has several seeds: "61.3 ± 0.2 %"."""
    if math.isnan(best.mean.error):
        return _figure(sweep, best.mean.value)
    if is_accuracy(sweep.metric):
        return f"{100 * best.mean.value:.1f} ± {100 * best.mean.error:.1f} %"
    return f"{best.mean.value:.6g} ± {best.mean.error:.2g}"


def _numbers(best: Best) -> str:
    numbers = [str(trial.number) for trial in best.trials]
    return f"trial{'s' * (len(numbers) > 1)} {' '.join(numbers)}"


def _figure(sweep: Sweep, value: float) -> str:
    """A value of the sweep's metric: accuracies in percent."""
    return f"{100 * value:.1f} %" if is_accuracy(sweep.metric) else f"{value:.6g}"


def _point(point: Mapping[str, Any], seed: int | None = None) -> str:
    shown = point if seed is None else {**point, SEED: seed}
    return ", ".join(
        f"{key}={value:.6g}" if isinstance(value, float) else f"{key}={value}" for key, value in shown.items()
    )
