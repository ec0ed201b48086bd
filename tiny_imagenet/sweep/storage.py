"""Builds Optuna's storage and pruner from what a sweep file says."""

import importlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import optuna
from optuna.pruners import BasePruner
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.exc import SQLAlchemyError

from tiny_imagenet.cli import allowed
from tiny_imagenet.errors import UserError

PRUNERS = "optuna.pruners"
HEARTBEAT = 60  # seconds
GRACE = 300  # seconds without a heartbeat after which a worker on another machine counts as dead

# The password of a URL such as postgresql://user:password@host/db, also if it contains @, or if the URL is misspelt.
_PASSWORD = re.compile(r"(:?//[^:@/]*:|:(?!//))(.*)@", re.DOTALL)
_PASSWORD_OPTION = re.compile(r"([?&][^=&]*pass[^=&]*=)[^&]*", re.IGNORECASE)


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """Open the storage at a URL; an SQLite file is created if it does not exist.

    Raises:
        UserError: the storage cannot be reached, or its driver is not installed.
    """
    try:
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        return RDBStorage(
            url,
            engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite:") else None,
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
        )
    except (ImportError, OSError, ValueError, RuntimeError, SQLAlchemyError) as error:
        raise UserError(storage_error(url, "cannot be opened", error)) from error


def storage_error(url: str, problem: str, error: BaseException) -> str:
    """The message for a storage that failed: "storage: URL cannot be opened: REASON", without the URL's password."""
    shown = without_password(url)
    reason = str(error).replace(url, shown)
    if found := _PASSWORD.search(url):
        for password in filter(None, (found[2], unquote(found[2]))):
            reason = reason.replace(password, "***")
    return f"storage: {shown} {problem}: {reason}"


def without_password(url: str) -> str:
    """A storage's URL with `***` in place of its password.

    SQLAlchemy's own `render_as_string` cannot parse misspelt URLs, and shows what follows an @ in a password.
    """
    return _PASSWORD_OPTION.sub(r"\1***", _PASSWORD.sub(r"\1***@", url))


def build_pruner(spec: dict[str, Any] | None) -> BasePruner:
    """Build the pruner from `{class_path, init_args}`; None does not prune.

    Raises:
        UserError: sweep files may not name the class, or it is not a pruner, or it rejects its arguments.
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
            raise TypeError("it is not a pruner")
        return pruner(**(spec.get("init_args") or {}))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"pruner: {path}: {error}. Try {PRUNERS}.MedianPruner.") from error
