"""Every private name of Optuna's that this project uses, and why. The tests in tests/sweep run all of them.

Tested with Optuna 4.9.
"""

from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState


def trial_id(trial: optuna.Trial | FrozenTrial) -> int:
    """The trial's key in its storage. The storage's public methods need it, but no public property has it."""
    return trial._trial_id


def requeue(storage: BaseStorage, trial: optuna.Trial | FrozenTrial) -> None:
    """Return a running trial to the queue under its number; a study can only enqueue new trials."""
    storage.set_trial_state_values(trial_id(trial), TrialState.WAITING)


def record_heartbeat(storage: BaseStorage, trial: optuna.Trial) -> None:
    """Show other machines that a trial's worker is alive. Optuna does this only within `Study.optimize`."""
    if isinstance(storage, RDBStorage):
        storage.record_heartbeat(trial_id(trial))


def enqueued_point(trial: FrozenTrial) -> dict[str, Any] | None:
    """The parameters that a trial was enqueued with; None if it was not enqueued."""
    return trial.system_attrs.get("fixed_params")
