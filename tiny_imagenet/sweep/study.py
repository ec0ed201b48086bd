"""The Optuna study behind a sweep: which worker runs which trial, and what happens to the trials of dead workers.

The sweep and its training process lock the folder of the trial that they run; the kernel releases the lock when both
have ended, for whatever reason. So workers on this machine see at once that a trial was interrupted; it returns to the
queue under its number and resumes in its folder. Workers on other machines show by a heartbeat that they are alive;
if it stops, their trial starts again under a new number, and the old one is void: failed without a reason.
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
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from tiny_imagenet.errors import UserError
from tiny_imagenet.progress import say
from tiny_imagenet.run.folder import CONFIG, newest_version, version_folder
from tiny_imagenet.run.seeds import SEED
from tiny_imagenet.sweep import optuna_internals
from tiny_imagenet.sweep.claim import Claim, has_checkpoint, lock_folder
from tiny_imagenet.sweep.definition import Sweep
from tiny_imagenet.sweep.dimensions import Range
from tiny_imagenet.sweep.points import identity, is_void, point_of, seed_of
from tiny_imagenet.sweep.storage import GRACE, HEARTBEAT, build_pruner, open_storage, without_password

FORMAT = 1  # of what a study's storage holds, raised when an earlier version could not continue it; see tests/formats
POLL = 1.0  # seconds between two looks at the state of other workers and of the training


class SharedStudy:
    """A sweep's study, new or continued. Several workers may use it at the same time.

    Raises:
        UserError: the storage cannot be opened, or its study has another search.
    """

    def __init__(self, sweep: Sweep, retry_failed: bool) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Study.optimize would send heartbeats; `beat` does so instead.
        warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed to be used with Study.optimize")
        self.sweep = sweep
        self._beats: dict[int, tuple[float | None, float]] = {}  # trial: its last beat, and when it was first seen here
        self.place = f"{socket.gethostname()}:{sweep.folder.resolve()}"
        sweep.folder.mkdir(parents=True, exist_ok=True)
        # On one machine, only one worker at a time decides what runs next.
        self.lock = FileLock(sweep.folder / ".lock")
        with self.lock:
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
        """All trials except void ones, by number."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if not is_void(trial)]

    def claim(self, stop: Callable[[], bool]) -> Claim | None:
        """The next trial to run; None if all trials have ended or `stop` returns true.

        While other workers run the last trials it waits, to take over if one of them dies.
        """
        announced = False
        while not stop():
            with self.lock:
                self._requeue_dead()
                self._requeue_stale()
                if not self.sweep.is_grid:
                    self._enqueue(retry_failed=False)  # the other seeds of points that the sampler proposed
                states = [trial.state for trial in self.trials()]
                if TrialState.WAITING in states or self._has_room():
                    if claim := self._ask():
                        return claim
                    continue
            if TrialState.RUNNING not in states:
                return None
            if not announced:
                say(f"Waiting for {states.count(TrialState.RUNNING)} trial(s) of other workers.")
                announced = True
            time.sleep(POLL)
        return None

    def beat(self, claim: Claim) -> None:
        """Show other machines that a trial's worker is alive: at most one heartbeat per HEARTBEAT seconds."""
        if time.monotonic() - claim.last_heartbeat >= HEARTBEAT:
            optuna_internals.record_heartbeat(self.storage, claim.trial)
            claim.last_heartbeat = time.monotonic()

    def complete(self, claim: Claim, value: float) -> None:
        # The config is in the storage, so that every machine can write best.yaml.
        claim.trial.set_user_attr("config", (claim.run / CONFIG).read_text(encoding="utf-8"))
        self.study.tell(claim.trial, value)

    def prune(self, claim: Claim) -> None:
        self.study.tell(claim.trial, state=TrialState.PRUNED)

    def fail(self, claim: Claim, reason: str) -> None:
        claim.trial.set_user_attr("reason", reason)
        self.study.tell(claim.trial, state=TrialState.FAIL)

    def requeue(self, claim: Claim) -> None:
        """Return an interrupted trial to the queue under its number."""
        with self.lock:  # so that no worker takes it before its folder is unlocked
            claim.release()
            optuna_internals.requeue(self.storage, claim.trial)

    def _require_same_search(self) -> None:
        sweep = self.sweep
        search = {key: asdict(values) if is_dataclass(values) else values for key, values in sweep.search.items()}
        now = {"search": search, "metric": sweep.metric, "direction": sweep.direction}
        seeds = [seed for seed in sweep.seeds if seed is not None]
        settings = {"configs": [*sweep.configs, *sweep.overlays], "options": sweep.options, "seeds": seeds}
        before = self.study.user_attrs
        if before.get("format", 1) > FORMAT:
            raise UserError(
                f"The sweep {sweep.name} in {without_password(sweep.storage)} has format {before['format']}, of a "
                f"later version of this project; this one reads formats up to {FORMAT}. Update the project, such as by "
                "git pull, or start a new sweep with --name."
            )
        changed = [key for key, value in now.items() if key in before and before[key] != value]
        if changed:
            changes = "; ".join(f"{key}: {before[key]} -> {now[key]}" for key in changed)
            raise UserError(
                f"Cannot resume the sweep {sweep.name} in {without_password(sweep.storage)}: {' and '.join(changed)} "
                f"changed, so new trials would not be comparable with the old. Restore the old, or start a new sweep "
                f"with --name. ({changes})"
            )
        for key, value in settings.items():
            if key in before and before[key] != value:
                say(f"Note: {key} changed. Trials so far: {before[key]}. New trials: {value}.")
        for key, value in {**now, **settings, "format": FORMAT}.items():
            if before.get(key) != value:
                self.study.set_user_attr(key, value)

    def _enqueue(self, retry_failed: bool) -> None:
        """Enqueue the points of a grid, or those tried so far of ranges, with each seed for which they have no trial.

        With `retry_failed`, failed trials do not count.
        """
        trials = [trial for trial in self.trials() if point_of(trial).keys() == self.sweep.search.keys()]
        kept = [trial for trial in trials if not (retry_failed and trial.state == TrialState.FAIL)]
        done = {identity(point_of(trial), seed_of(trial)) for trial in kept}
        for point in [*(self.sweep.points() if self.sweep.is_grid else []), *map(point_of, trials)]:
            for seed in self.sweep.seeds:
                if identity(point, seed) not in done:
                    self.study.enqueue_trial(point, user_attrs={SEED: seed})
                    done.add(identity(point, seed))

    def _has_room(self) -> bool:
        """Whether the sampler may propose another point."""
        proposed = sum(seed_of(trial) == self.sweep.seeds[0] for trial in self.trials())
        return self.sweep.trials is not None and proposed < self.sweep.trials

    def _requeue_dead(self) -> None:
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._is_dead(trial):
                optuna_internals.requeue(self.storage, trial)

    def _is_dead(self, trial: FrozenTrial) -> bool:
        place = trial.user_attrs.get("place")
        if place is None:  # Its worker is in `_ask`, or died there.
            return datetime.now() - trial.datetime_start > timedelta(seconds=GRACE)
        if place != self.place:
            return False
        lock = lock_folder(self._folder(trial.number))
        if lock is None:
            return False
        # Its worker may have finished it and released the lock since the list of trials was read.
        still_running = self.storage.get_trial(optuna_internals.trial_id(trial)).state == TrialState.RUNNING
        os.close(lock)
        return still_running

    def _requeue_stale(self) -> None:
        """Start the trials of other machines' dead workers again, under new numbers."""
        if isinstance(self.storage, RDBStorage):
            return fail_stale_trials(self.study)
        # The machines' clocks may differ: what counts is that a trial's last beat stays the same, by the clock here.
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            beat, now = trial.user_attrs.get(optuna_internals.BEAT), time.monotonic()
            before, since = self._beats.get(trial.number, (None, now))
            if beat is None or beat != before:
                self._beats[trial.number] = (beat, now)
            elif now - since > GRACE and trial.user_attrs.get("place") != self.place:
                optuna_internals.void(self.storage, self.study, trial)

    def _ask(self) -> Claim | None:
        trial = self.study.ask()
        others = self.study.get_trials(deepcopy=False)
        point = optuna_internals.enqueued_point(others[trial.number])
        seed = trial.user_attrs.get(SEED, None if point else self.sweep.seeds[0])
        like = [o for o in others if point_of(o) == point and o.number != trial.number]
        if seed not in self.sweep.seeds or any(
            o.state != TrialState.FAIL and seed_of(o) == seed for o in like if o.number < trial.number
        ):
            # The seed was removed from the sweep. Or two machines started the study at the same moment, and both
            # enqueued the grid.
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        if any(o.state == TrialState.PRUNED for o in like):
            trial.set_user_attr("reason", "pruned with another seed")
            self.study.tell(trial, state=TrialState.PRUNED)
            return None
        ran_here = trial.user_attrs.get("place") == self.place
        folder = self._folder(trial.number)
        lock = lock_folder(folder)
        if lock is None:
            optuna_internals.requeue(self.storage, trial)
            raise UserError(f"{folder} is in use by another sweep of the same name. Choose another --name.")
        newest = newest_version(folder)
        resumable = ran_here and has_checkpoint(version_folder(folder, newest))
        run = version_folder(folder, newest if resumable else newest + 1)
        trial.set_user_attr(SEED, seed)
        trial.set_user_attr("place", self.place)
        trial.set_user_attr("run", str(run))
        point = {key: _suggest(trial, key, values) for key, values in self.sweep.search.items()}
        claim = Claim(trial, self.study, point, seed, folder, run, lock, last_heartbeat=-HEARTBEAT)
        self.beat(claim)
        return claim

    def _folder(self, number: int) -> Path:
        return self.sweep.folder / f"trial_{number:03d}"


def _suggest(trial: optuna.Trial, key: str, values: dict[str, Any] | Range) -> Any:
    if isinstance(values, dict):
        return trial.suggest_categorical(key, list(values))
    if all(isinstance(number, int) for number in (values.low, values.high, values.step or 1)):
        return trial.suggest_int(key, values.low, values.high, step=values.step or 1, log=values.log)
    return trial.suggest_float(key, values.low, values.high, step=values.step, log=values.log)
