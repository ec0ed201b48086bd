"""A run's folder, runs/NAME/version_N: its name, its files, and the lock against two trainings writing to it."""

import errno
import os
import re
import stat
from pathlib import Path
from typing import IO, Any

import yaml
from filelock import FileLock, Timeout

from tiny_imagenet.errors import UserError
from tiny_imagenet.files import size_text

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None

RUNS = Path("runs")  # under the working directory
CONFIG, METRICS = "config.yaml", "metrics.csv"
CHECKPOINTS = "checkpoints"
LARGEST_CONFIG = 1_000_000  # bytes; a run's is 3 kB
MOST_LEVELS = 100  # of nesting in a config


def version_of(run: Path) -> int | None:
    """The N of a folder version_N; None for other folders."""
    match = re.fullmatch(r"version_(\d+)", run.name)
    return int(match[1]) if match else None


def newest_version(folder: Path) -> int:
    """The highest N of the folders version_N in a folder; -1 if there is none."""
    versions = [version_of(path) for path in folder.glob("version_*") if path.is_dir()]
    return max((version for version in versions if version is not None), default=-1)


def version_folder(folder: Path, version: int) -> Path:
    """The folder of a version of the runs in a folder."""
    return folder / f"version_{version}"


def run_of(checkpoint: Path) -> Path:
    """The folder of the run that a checkpoint file belongs to."""
    return checkpoint.parent.parent if checkpoint.parent.name == CHECKPOINTS else checkpoint.parent


def checkpoint_path(run: Path, name: str) -> Path:
    """The file of a run's checkpoint `last`, `best` or `previous`, which need not exist."""
    return run / CHECKPOINTS / f"{name}.ckpt"


def read_config(run: Path) -> dict[str, Any]:
    """A run's config.yaml.

    Raises:
        FileNotFoundError: it has none.
        UserError: the file is damaged.
    """
    path = run / CONFIG
    try:
        config = yaml.load(read_file(path, LARGEST_CONFIG), ConfigLoader)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:  # the last four: wrong !!tags
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path} is damaged{where}: {getattr(error, 'problem', error)}. {_RESTORE}") from None
    if not isinstance(config, dict) or not isinstance(config.get("trainer", {}), dict):
        raise UserError(f"{path} is damaged: it holds no options. {_RESTORE}")
    return config


def read_file(path: Path, largest: int) -> bytes:
    """The content of a regular file. A pipe or a device, which might never end, is refused without waiting for it.

    Args:
        largest: size in bytes, at most.

    Raises:
        OSError: it can't be opened.
        ValueError: it is no regular file, or larger.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path.name} is not a regular file")
        if status.st_size > largest:
            raise ValueError(f"{path.name} has {size_text(status.st_size)}, more than {size_text(largest)}")
        return file.read(largest)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # not on Windows


_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ConfigLoader(_SafeLoader):
    """Refuses what makes a small file dangerous: nested aliases make gigabytes, and deep nesting crashes libyaml 0.2.5.

    What training writes has no aliases and few levels.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        levels = 0
        for event in yaml.parse(content, _SafeLoader):
            levels += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("it has YAML aliases")
            if levels > MOST_LEVELS:
                raise ValueError("it is nested too deeply")


_RESTORE = "Restore it, or write another in the form of configs/defaults.yaml."


def claim(run: Path) -> list[Path]:
    """Make a new run's folder, so that no other run can take it.

    Returns:
        The folders that were made: the run's, and those above it that were missing.

    Raises:
        UserError: it is taken, or can't be made.
    """
    made = [run, *(folder for folder in run.parents if not folder.exists())]
    try:
        run.mkdir(parents=True)
    except FileExistsError:
        if not run.is_dir():
            raise UserError(f"The run's folder {run.resolve()} can't be made: a file has its name.") from None
        raise UserError(f"{run} was just taken by another run of the same name; start this one again.") from None
    except OSError as error:
        raise UserError(f"The run's folder {run.resolve()} can't be made: {error.strerror}.") from error
    return made


class RunLock:
    """Lets one training at a time write to a run's folder, by a POSIX lock, released when the process exits.

    Worker processes do not inherit it, as they would that of filelock, which is used on Windows.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self._file: IO | None = None
        self._filelock: FileLock | None = None

    def acquire(self) -> None:
        """Take the lock until `release`; the folder must exist.

        Raises:
            UserError: another process has it.
        """
        if fcntl is None:
            self._filelock = FileLock(self.run / ".lock", timeout=0)
            try:
                self._filelock.acquire()
            except Timeout:
                raise self._taken() from None
            return
        self._file = open(self.run / ".lock", "w")
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):  # Other errors: a file system without locks.
                self.release()
                raise self._taken() from None

    def _taken(self) -> UserError:
        return UserError(f"{self.run} is being trained by another process; wait for it, or stop it.")

    def release(self) -> None:
        if self._filelock is not None:
            self._filelock.release()
            self._filelock = None
        if self._file is not None:
            self._file.close()
            self._file = None
