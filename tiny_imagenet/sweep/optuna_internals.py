"""Every private name of Optuna's that this project uses, and why. tests/sweep/test_optuna_internals.py checks them.

Tried with Optuna 4.9.
"""

from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState


def trial_id(trial: optuna.Trial | FrozenTrial) -> int:
    """The trial's key in its storage, which the storage's public methods take and no public property gives."""
    return trial._trial_id


def requeue(storage: BaseStorage, trial: optuna.Trial | FrozenTrial) -> None:
    """Let a running trial wait again under its number; a study can only enqueue new ones."""
    storage.set_trial_state_values(trial_id(trial), TrialState.WAITING)


def record_heartbeat(storage: BaseStorage, trial: optuna.Trial) -> None:
    """Show other machines that a trial's worker lives, as only `Study.optimize` does for its own trials."""
    if isinstance(storage, RDBStorage):
        storage.record_heartbeat(trial_id(trial))


def enqueued_point(trial: FrozenTrial) -> dict[str, Any] | None:
    """The parameters that a trial was enqueued with; None for one that was not."""
    return trial.system_attrs.get("fixed_params")
