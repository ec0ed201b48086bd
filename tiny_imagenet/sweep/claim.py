"""A trial that only one worker runs: a lock on its folder, which the kernel releases when the worker dies."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from tiny_imagenet.run.checkpoint_files import checkpoint_to_test
from tiny_imagenet.run.folder import checkpoint_path


@dataclass
class Claim:
    """A trial that only this worker runs: its point and seed, its folder, and the run in that folder."""

    trial: optuna.Trial
    study: optuna.Study
    point: dict[str, Any]
    seed: int | None
    folder: Path
    run: Path
    lock: int | None  # file descriptor
    last_heartbeat: float = 0.0  # by time.monotonic()

    @property
    def number(self) -> int:
        return self.trial.number

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def resuming(self) -> list[str]:
        """The option with which a `fit` resumes the trial; empty if it has no checkpoint."""
        return ["--ckpt_path=last"] if has_checkpoint(self.run) else []

    def testing(self) -> list[str]:
        """The arguments that test the trained network of this trial."""
        return ["test", f"--ckpt_path={checkpoint_to_test(self.run) or checkpoint_path(self.run, 'last')}"]

    def trial_now(self) -> FrozenTrial:
        """The trial as it is in the storage now."""
        return next(trial for trial in self.study.get_trials(deepcopy=False) if trial.number == self.number)

    def release(self) -> None:
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None


def has_checkpoint(run: Path) -> bool:
    return any(checkpoint_path(run, name).exists() for name in ("last", "previous"))


def lock_folder(folder: Path) -> int | None:
    """Lock a folder. Returns a file descriptor, or None if the folder is locked already.

    Processes that inherit the descriptor hold the lock too: it is released when all of them have closed it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
