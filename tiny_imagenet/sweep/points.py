"""What a trial trains, a point of the search with one of the sweep's seeds, and which point is the best."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial, TrialState

from tiny_imagenet.run.seeds import SEED, Mean, mean_of
from tiny_imagenet.sweep import optuna_internals
from tiny_imagenet.sweep.definition import Sweep


class Best(NamedTuple):
    """The best point: the mean of the metric over its seeds, and their trials, in the order of the seeds."""

    mean: Mean
    trials: list[FrozenTrial]


def point_of(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's point, whether or not the trial has started."""
    return optuna_internals.enqueued_point(trial) or trial.params


def seed_of(trial: FrozenTrial) -> int | None:
    """A trial's seed; None if the sweep leaves it to the config.

    It is no parameter of the trial, or the sampler would search for the best seed.
    """
    return trial.user_attrs.get(SEED)


def identity(point: Mapping[str, Any], seed: int | None) -> Hashable:
    """What tells a training of a sweep from all others."""
    return frozenset(point.items()), seed


def is_void(trial: FrozenTrial) -> bool:
    """Whether a trial does not count: it was started again under another number, or was not wanted."""
    return trial.state == TrialState.FAIL and "reason" not in trial.user_attrs


def best_point(sweep: Sweep, trials: Sequence[FrozenTrial]) -> Best | None:
    """The point with the best mean over its seeds; None before the first trial is complete.

    Points that lack a seed, since its training has not ended, failed or was pruned, count only if all do.
    """
    by_point: dict[Hashable, dict[int | None, FrozenTrial]] = {}
    for trial in trials:
        if trial.state == TrialState.COMPLETE and seed_of(trial) in sweep.seeds:
            by_point.setdefault(identity(point_of(trial), None), {}).setdefault(seed_of(trial), trial)
    found = [
        Best(mean_of([trial.value for trial in by_seed.values()]), [by_seed[s] for s in sweep.seeds if s in by_seed])
        for by_seed in by_point.values()
    ]
    sign = 1 if sweep.direction == "maximize" else -1
    return max(found, key=lambda best: (len(best.trials) == len(sweep.seeds), sign * best.mean.value), default=None)
