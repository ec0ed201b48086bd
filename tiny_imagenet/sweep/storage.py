"""Builds Optuna's storage and pruner from what a sweep file says."""

import importlib
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import optuna
from optuna.pruners import BasePruner
from optuna.storages import JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy.exc import SQLAlchemyError

from tiny_imagenet.cli import allowed
from tiny_imagenet.errors import UserError, legible
from tiny_imagenet.progress import say

PRUNERS = "optuna.pruners"
HEARTBEAT = 60  # seconds
GRACE = 300  # seconds without a heartbeat after which a worker on another machine counts as dead
# What follows is a file's path, relative to the working directory.
JOURNAL, SQLITE = "journal://", re.compile(r"sqlite(?:\+\w+)?:///([^?]*)")

MOUNTS = Path("/proc/self/mounts")  # Linux
NETWORK_DISKS = re.compile(r"nfs\d?|cifs|smb\w*|afs|9p|lustre|beegfs|fuse\.(sshfs|glusterfs|rclone|s3fs|vmhgfs-fuse)")

# The password of a URL such as postgresql://user:password@host/db, also if it contains @, or if the URL is misspelt.
_PASSWORD = re.compile(r"(:?//[^:@/]*:|:(?!//))(.*)@", re.DOTALL)
_PASSWORD_OPTION = re.compile(r"([?&][^=&]*pass[^=&]*=)[^&]*", re.IGNORECASE)


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """Open the storage at a URL: `journal://FILE` of Optuna's, or a database; a file is created if it does not exist.

    Raises:
        UserError: the storage cannot be reached, or its driver is not installed, or its file is not one.
    """
    try:
        if url.startswith(JOURNAL):
            return _open_journal(Path(url.removeprefix(JOURNAL)))
        if file := _file_of(url):
            file.parent.mkdir(parents=True, exist_ok=True)
            if kind := network_disk(file):
                say(
                    f"Note: {file} is on a network disk ({kind}), where SQLite can fail or lose trials. For a new "
                    f"sweep, write storage: {JOURNAL}{file.with_suffix('.log')} in the sweep file."
                )
        return RDBStorage(
            url,
            engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite:") else None,
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
        )
    except (ImportError, OSError, ValueError, RuntimeError, SQLAlchemyError) as error:
        raise UserError(storage_error(url, "cannot be opened", error)) from error


def require_own_place(url: str, folder: Path) -> None:
    """Refuse a storage that a sweep file, which anyone may have written, puts outside the sweep's folder.

    An absolute path to a folder that exists already is accepted.

    Raises:
        UserError: it would make folders elsewhere, or is relative to the working directory and not below `folder`, or
            is no possible path.
    """
    file = _file_of(url)
    if file is None or not file.name:
        return
    try:
        own = file.resolve().is_relative_to(folder.resolve()) or (file.is_absolute() and file.parent.is_dir())
    except (OSError, RuntimeError, ValueError) as error:  # no path at all, such as a circle of links
        raise UserError(storage_error(url, "cannot be opened", error)) from error
    if not own:
        raise UserError(
            storage_error(
                url,
                "cannot be opened",
                f"a sweep file may only name files below {folder}, or absolute paths to folders that exist. To use it, "
                "give it on the command line: --storage URL.",
            )
        )


def _file_of(url: str) -> Path | None:
    """The file of a journal or an SQLite database; None for one in memory or on a server."""
    if url.startswith(JOURNAL):
        return Path(url.removeprefix(JOURNAL))
    name = SQLITE.match(url)
    return Path(name[1]) if name and name[1] and name[1] != ":memory:" else None


def _open_journal(file: Path) -> JournalStorage:
    if not file.name or file.is_dir():
        raise ValueError(f"name a file, such as {JOURNAL}runs/NAME/study.log")
    if file.exists() and not file.is_file():
        raise ValueError("it is a pipe or a device")
    file = file.resolve()
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileOpenLock(str(file))  # SMB may have no symbolic links, which Optuna's other lock needs
    lock.acquire()
    try:
        # Optuna would append to such a line, and could not read the file again.
        if file.exists() and _last_byte(file) not in (b"", b"\n"):
            raise ValueError("its last line is incomplete. If it is a journal of Optuna's, delete that line")
    finally:
        lock.release()
    try:
        return JournalStorage(JournalFileBackend(str(file), lock))
    except (KeyError, TypeError, AssertionError, ValueError) as error:
        raise ValueError(f"it is not a journal of Optuna's, or it is damaged ({error!r})") from error


def _last_byte(file: Path) -> bytes:
    with file.open("rb") as content:
        content.seek(max(0, content.seek(0, os.SEEK_END) - 1))
        return content.read()


def network_disk(path: Path) -> str | None:
    """The type of the file system that a path is on, if that is a network's; None if it is not, or on other systems."""
    path = path.resolve()
    try:
        mounts = [line.split()[1:3] for line in MOUNTS.read_text(errors="surrogateescape").splitlines()]
    except OSError:
        return None
    unescaped = ((re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), folder), kind) for folder, kind in mounts)
    above = [(len(Path(folder).parts), kind) for folder, kind in unescaped if path.is_relative_to(folder)]
    _, kind = max(reversed(above), key=lambda mount: mount[0], default=(0, ""))  # of two on a folder, the later
    return kind if NETWORK_DISKS.fullmatch(kind) else None


def storage_error(url: str, problem: str, error: BaseException | str) -> str:
    """The message for a storage that failed: "storage: URL cannot be opened: REASON", without the URL's password."""
    shown = without_password(url)
    reason = str(error).replace(url, shown)
    if found := _PASSWORD.search(url):
        for password in filter(None, (found[2], unquote(found[2]))):
            reason = reason.replace(password, "***")
    return f"storage: {legible(shown)} {problem}: {reason}"


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
        raise UserError(f"pruner: {legible(f'{path}: {error}')}. Try {PRUNERS}.MedianPruner.") from error
