"""Every private name of Optuna's that this project uses, and why. The tests in tests/sweep run all of them.

Tested with Optuna 4.9 and 5.0.
"""

import copy
import time
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

BEAT = "heartbeat"  # the attribute of a trial for storages without heartbeats


def trial_id(trial: optuna.Trial | FrozenTrial) -> int:
    """The trial's key in its storage. The storage's public methods need it, but no public property has it."""
    return trial._trial_id


def requeue(storage: BaseStorage, trial: optuna.Trial | FrozenTrial) -> None:
    """Return a running trial to the queue under its number; a study can only enqueue new trials."""
    storage.set_trial_state_values(trial_id(trial), TrialState.WAITING)


def record_heartbeat(storage: BaseStorage, trial: optuna.Trial) -> None:
    """Show other machines that a trial's worker is alive. Optuna does this only within `Study.optimize`.

    A storage without heartbeats, such as a journal, gets an attribute of the trial that changes each time.
    """
    if isinstance(storage, RDBStorage):
        storage.record_heartbeat(trial_id(trial))
    else:
        trial.set_user_attr(BEAT, time.time())


def void(storage: BaseStorage, study: optuna.Study, trial: FrozenTrial) -> None:
    """End a trial whose worker died, and enqueue it again, as `fail_stale_trials` does by Optuna's heartbeat."""
    try:
        storage.set_trial_state_values(trial_id(trial), TrialState.FAIL)
    except UpdateFinishedTrialError:  # another worker was faster
        return
    RetryHeartbeatStaleTrialCallback()(study, copy.deepcopy(trial))  # it appends to a list in the trial


def enqueued_point(trial: FrozenTrial) -> dict[str, Any] | None:
    """The parameters that a trial was enqueued with; None if it was not enqueued."""
    return trial.system_attrs.get("fixed_params")
