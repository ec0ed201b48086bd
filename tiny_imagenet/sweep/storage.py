"""Optuna's storage and pruner as a sweep file names them."""

import importlib
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.exc import SQLAlchemyError

from tiny_imagenet.cli import allowed
from tiny_imagenet.errors import UserError

PRUNERS = "optuna.pruners"
HEARTBEAT = 60  # seconds
GRACE = 300  # seconds without a heartbeat after which a worker on another machine is given up


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """Open the storage of that URL; one in a file is made if need be.

    Raises:
        UserError: it cannot be reached, or its driver is not installed.
    """
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    try:
        return RDBStorage(
            url,
            engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite:") else None,
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
        )
    except (ImportError, ValueError, RuntimeError, SQLAlchemyError) as error:
        raise UserError(f"storage: {url} cannot be opened: {error}") from error


def build_pruner(spec: dict[str, Any] | None) -> BasePruner:
    """Make the pruner of `{class_path, init_args}`; null prunes nothing.

    Raises:
        UserError: the class is not of a module that sweep files may name, is no pruner, or refuses its arguments.
    """
    if spec is None:
        return optuna.pruners.NopPruner()
    path = str(spec["class_path"])
    modules = [PRUNERS, *allowed.users_modules()]
    if not any(path.startswith(f"{module}.") for module in modules):
        raise UserError(allowed.refusal("pruner", path, modules))
    module, _, name = path.rpartition(".")
    try:
        pruner = getattr(importlib.import_module(module), name)
        if not isinstance(pruner, type) or not issubclass(pruner, BasePruner):
            raise TypeError("it is no pruner")
        return pruner(**spec.get("init_args", {}))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"pruner: {path}: {error}. Try {PRUNERS}.MedianPruner.") from error
