"""A run's folder: each new run has its own, and one training at a time writes to it."""

import errno
import fcntl
from pathlib import Path
from typing import IO

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from tiny_imagenet.errors import UserError


@rank_zero_only
def claim(run: Path) -> None:
    """Make a new run's folder, so that no other run can take it."""
    try:
        run.mkdir(parents=True)
    except FileExistsError:
        raise UserError(f"{run} was just taken by another run of the same name; start this one again.") from None
    except OSError as error:
        raise UserError(f"The run's folder {run.resolve()} cannot be made: {error.strerror}.") from error


class RunLock:
    """Lets one training at a time write to a run's folder.

    By a lock of the process, which a worker process does not inherit: whatever way the training ends, it ends with it.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self._file: IO | None = None

    @rank_zero_only
    def acquire(self) -> None:
        """Take the lock until `release`, on the first process; the folder must be there.

        Raises:
            UserError: another process has it.
        """
        self._file = open(self.run / ".lock", "w")
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):  # Other errors: a file system that has no locks.
                self.release()
                raise UserError(f"{self.run} is being trained by another process; wait for it, or stop it.") from None

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
