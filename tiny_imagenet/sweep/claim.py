"""A trial that one worker runs and nobody else, by a lock on its folder that the kernel frees when it dies."""

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
    """A trial that this worker runs, and nobody else: its point and folder, and the run of the folder that it makes."""

    trial: optuna.Trial
    study: optuna.Study
    point: dict[str, Any]
    folder: Path
    run: Path
    lock: int | None
    beaten: float = 0.0

    @property
    def number(self) -> int:
        return self.trial.number

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def resuming(self) -> list[str]:
        return ["--ckpt_path=last"] if has_checkpoint(self.run) else []

    def testing(self) -> list[str]:
        """The arguments that test what this trial has trained."""
        return ["test", f"--ckpt_path={checkpoint_to_test(self.run) or checkpoint_path(self.run, 'last')}"]

    def trial_now(self) -> FrozenTrial:
        return next(trial for trial in self.study.get_trials(deepcopy=False) if trial.number == self.number)

    def release(self) -> None:
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None


def has_checkpoint(run: Path) -> bool:
    return any(checkpoint_path(run, name).exists() for name in ("last", "previous"))


def lock_folder(folder: Path) -> int | None:
    """A descriptor that locks a folder until it is closed, also by processes that inherit it; None if another does."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
