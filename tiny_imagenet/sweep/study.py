"""The Optuna study behind a sweep: who runs which trial, and what becomes of the trials of workers that died.

Every trial that runs is locked in its folder by the sweep and by its training process; the kernel frees the lock when
both have ended, however they ended. So a trial that was interrupted on this machine is known at once, waits again under
its number, and goes on in its folder. A worker elsewhere shows that it lives by Optuna's heartbeat; if that stops, its
trial is run again from the start under a new number. A failed trial without a reason is such a lost one: void.
"""

import os
import socket
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from tiny_imagenet.errors import UserError
from tiny_imagenet.run.folder import CONFIG, newest_version, version_folder
from tiny_imagenet.sweep import optuna_internals
from tiny_imagenet.sweep.claim import Claim, has_checkpoint, lock_folder
from tiny_imagenet.sweep.definition import Range, Sweep
from tiny_imagenet.sweep.storage import GRACE, HEARTBEAT, build_pruner, open_storage

POLL = 1.0  # seconds between looks at what others do


class SharedStudy:
    """A sweep's study, opened or begun. Safe for several workers at a time.

    Raises:
        UserError: the storage cannot be opened, or the study in it is of another search.
    """

    def __init__(self, sweep: Sweep, retry_failed: bool) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # `beat` does what Study.optimize would.
        warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed to be used with Study.optimize")
        self.sweep = sweep
        self.place = f"{socket.gethostname()}:{sweep.folder.resolve()}"
        sweep.folder.mkdir(parents=True, exist_ok=True)
        # Between workers of one machine, what is decided here is decided by one of them at a time.
        self.deciding = FileLock(sweep.folder / ".lock")
        with self.deciding:
            self.storage = open_storage(sweep.storage)
            self.study = optuna.create_study(
                storage=self.storage,
                study_name=sweep.name,
                direction=sweep.direction,
                sampler=optuna.samplers.TPESampler(constant_liar=True),
                pruner=build_pruner(sweep.pruner),
                load_if_exists=True,
            )
            self._require_same_search()
            self._enqueue(retry_failed)

    def trials(self) -> list[FrozenTrial]:
        """All trials but void ones, by number."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if not _is_void(trial)]

    def claim(self, stop: Callable[[], bool]) -> Claim | None:
        """The next trial to run, or None if all is done or `stop` says so.

        Waits while other workers run the last trials, to take over those of a worker that dies.
        """
        told = False
        while not stop():
            with self.deciding:
                self._requeue_dead()
                fail_stale_trials(self.study)
                states = [trial.state for trial in self.trials()]
                room = self.sweep.trials is not None and len(states) < self.sweep.trials
                if TrialState.WAITING in states or room:
                    if claim := self._ask():
                        return claim
                    continue
            if TrialState.RUNNING not in states:
                return None
            if not told:
                print(f"Waiting for {states.count(TrialState.RUNNING)} trial(s) of other workers.", flush=True)
                told = True
            time.sleep(POLL)
        return None

    def beat(self, claim: Claim) -> None:
        """Let other machines know that a trial's worker lives. Cheap enough to call at any time."""
        if time.monotonic() - claim.beaten >= HEARTBEAT:
            optuna_internals.record_heartbeat(self.storage, claim.trial)
            claim.beaten = time.monotonic()

    def complete(self, claim: Claim, value: float) -> None:
        # In the storage, so that every machine can write best.yaml.
        claim.trial.set_user_attr("config", (claim.run / CONFIG).read_text(encoding="utf-8"))
        self.study.tell(claim.trial, value)

    def prune(self, claim: Claim) -> None:
        self.study.tell(claim.trial, state=TrialState.PRUNED)

    def fail(self, claim: Claim, reason: str) -> None:
        claim.trial.set_user_attr("reason", reason)
        self.study.tell(claim.trial, state=TrialState.FAIL)

    def requeue(self, claim: Claim) -> None:
        """Let an interrupted trial wait again, under its number."""
        with self.deciding:  # so that nobody takes it before it is unlocked
            claim.release()
            optuna_internals.requeue(self.storage, claim.trial)

    def _require_same_search(self) -> None:
        sweep = self.sweep
        search = {key: asdict(values) if is_dataclass(values) else values for key, values in sweep.search.items()}
        now = {"search": search, "metric": sweep.metric, "direction": sweep.direction}
        settings = {"configs": [*sweep.configs, *sweep.overlays], "options": sweep.options}
        before = self.study.user_attrs
        changed = [key for key, value in now.items() if key in before and before[key] != value]
        if changed:
            told = "; ".join(f"{key}: was {before[key]}, is {now[key]}" for key in changed)
            raise UserError(
                f"The study {sweep.name} in {sweep.storage} was begun with another {' and '.join(changed)}, and its "
                f"trials would not compare. Begin a new one with --name, or put it back. ({told})"
            )
        for key, value in settings.items():
            if key in before and before[key] != value:
                print(f"Note: trials so far had the {key} {before[key]}; those from now on have {value}.", flush=True)
        for key, value in {**now, **settings}.items():
            if before.get(key) != value:
                self.study.set_user_attr(key, value)

    def _enqueue(self, retry_failed: bool) -> None:
        """Let the points of a grid wait that have no trial yet, and the failed ones if they are to be retried."""
        trials = self.trials()
        kept = [point_of(trial) for trial in trials if not (retry_failed and trial.state == TrialState.FAIL)]
        wanted = self.sweep.points() if self.sweep.is_grid else []
        if retry_failed:
            wanted += [point_of(trial) for trial in trials if trial.state == TrialState.FAIL]
        for point in wanted:
            if point not in kept:
                self.study.enqueue_trial(point)
                kept.append(point)

    def _requeue_dead(self) -> None:
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._is_dead(trial):
                optuna_internals.requeue(self.storage, trial)

    def _is_dead(self, trial: FrozenTrial) -> bool:
        place = trial.user_attrs.get("place")
        if place is None:  # Its worker died between two lines of _ask.
            return datetime.now() - trial.datetime_start > timedelta(seconds=GRACE)
        if place != self.place:
            return False
        lock = lock_folder(self._folder(trial.number))
        if lock is None:
            return False
        # Its worker may have finished it since the list of trials was read, and only then let the lock go.
        still_running = self.storage.get_trial(optuna_internals.trial_id(trial)).state == TrialState.RUNNING
        os.close(lock)
        return still_running

    def _ask(self) -> Claim | None:
        trial = self.study.ask()
        others = self.study.get_trials(deepcopy=False)
        point = optuna_internals.enqueued_point(others[trial.number])
        if any(o.state != TrialState.FAIL and point_of(o) == point for o in others[: trial.number]):
            # Two machines began the study in the same moment, and both have enqueued the grid.
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        continuing = trial.user_attrs.get("place") == self.place
        folder = self._folder(trial.number)
        lock = lock_folder(folder)
        if lock is None:
            optuna_internals.requeue(self.storage, trial)
            raise UserError(f"{folder} is in use by another sweep of the same name. Give this one another --name.")
        newest = newest_version(folder)
        resumable = continuing and has_checkpoint(version_folder(folder, newest))
        run = version_folder(folder, newest if resumable else newest + 1)
        trial.set_user_attr("place", self.place)
        trial.set_user_attr("run", str(run))
        point = {key: _suggest(trial, key, values) for key, values in self.sweep.search.items()}
        claim = Claim(trial, self.study, point, folder, run, lock, beaten=-HEARTBEAT)
        self.beat(claim)
        return claim

    def _folder(self, number: int) -> Path:
        return self.sweep.folder / f"trial_{number:03d}"


def point_of(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's point, also before it runs."""
    return optuna_internals.enqueued_point(trial) or trial.params


def _is_void(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and "reason" not in trial.user_attrs


def _suggest(trial: optuna.Trial, key: str, values: dict[str, Any] | Range) -> Any:
    if isinstance(values, dict):
        return trial.suggest_categorical(key, list(values))
    if all(isinstance(number, int) for number in (values.low, values.high, values.step or 1)):
        return trial.suggest_int(key, values.low, values.high, step=values.step or 1, log=values.log)
    return trial.suggest_float(key, values.low, values.high, step=values.step, log=values.log)
