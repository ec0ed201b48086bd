"""A run's folder, runs/NAME/version_N: its name, its files, and the lock against two trainings writing to it."""

import errno
import re
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from tiny_imagenet.errors import UserError
from tiny_imagenet.run.bounded import read_yaml

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None

RUNS = Path("runs")  # under the working directory
CONFIG, METRICS = "config.yaml", "metrics.csv"
CHECKPOINTS = "checkpoints"


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
        config = read_yaml(path)
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}. {_RESTORE}") from None
    if not isinstance(config, dict) or not isinstance(config.get("trainer", {}), dict):
        raise UserError(f"{path} is damaged: it holds no options. {_RESTORE}")
    return config


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
