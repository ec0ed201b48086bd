"""Callbacks that disturb or end a training: by a signal, an error, a deleted file, a slow disk."""

import atexit
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import torch
from lightning.pytorch.callbacks import Callback

from tiny_imagenet.run import checkpoint_writer as saving


class Killed(BaseException):
    """Not an Exception, so that no error handling catches it."""


class KillAt(Callback):
    """Raise `Killed` at a point of the training.

    Args:
        hook: train_batch_start, validation_batch_start, test_batch_start or train_epoch_start.
        at: number of the call of that hook, from 0.
    """

    def __init__(self, hook: str, at: int) -> None:
        self.at, self.calls = at, 0
        setattr(self, f"on_{hook}", self._called)

    def _called(self, trainer, *args, **kwargs) -> None:
        self.calls += 1
        if self.calls == self.at + 1:
            self.end(trainer.global_rank)

    def end(self, rank: int) -> None:
        raise Killed


class SigkillAt(KillAt):
    """Kill the process of `rank`, or of every rank if it is None, by SIGKILL: not in the process of the test."""

    def __init__(self, hook: str, at: int, rank: int | None = None) -> None:
        super().__init__(hook, at)
        self.rank = rank

    def end(self, rank: int) -> None:
        if self.rank in (None, rank):
            os.kill(os.getpid(), signal.SIGKILL)


class StuckAt(KillAt):
    """Let the process of `rank` wait, as NCCL waits for a lost process."""

    def __init__(self, hook: str, at: int, rank: int = 0) -> None:
        super().__init__(hook, at)
        self.rank = rank

    def end(self, rank: int) -> None:
        if self.rank == rank:
            time.sleep(600)


class SignalAt(KillAt):
    """Send a signal to the process of `rank`, or of every rank if it is None."""

    def __init__(self, number: int, at: int, hook: str = "train_batch_start", rank: int | None = None) -> None:
        super().__init__(hook, at)
        self.number, self.rank = number, rank

    def end(self, rank: int) -> None:
        if self.rank in (None, rank):
            signal.raise_signal(self.number)


class SignalAllAt(SignalAt):
    """Let another process send the signal to this process's whole group, which must not be the test's."""

    def end(self, rank: int) -> None:
        subprocess.run(["kill", f"-{self.number}", "--", f"-{os.getpgid(0)}"], start_new_session=True, check=True)
        time.sleep(0.5)  # enough time for every process to act on it


class PoisonAt(SigkillAt):
    """From then on, make the weights of the head NaN in the process of `rank`, or of every rank if it is None."""

    def _called(self, trainer, *args, **kwargs) -> None:
        self.calls += 1
        if self.calls > self.at and self.rank in (None, trainer.global_rank):
            torch.nn.init.constant_(trainer.lightning_module.network.fc.weight, float("nan"))


class SlowDisk(Callback):
    """Make a checkpoint take ten seconds to reach the disk."""

    def on_train_start(self, *args) -> None:
        to_disk = saving.to_disk
        saving.to_disk = lambda path: time.sleep(5) or to_disk(path)  # the file, then its folder


class DeleteAt(Callback):
    """Delete a file, or a folder with its content, when the second epoch starts."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_train_epoch_start(self, trainer, *args) -> None:
        if trainer.current_epoch != 1 or not trainer.is_global_zero:  # only one rank may delete it
            return
        if self.path.is_dir():  # atomically, even if another process is writing to it
            shutil.rmtree(self.path.rename(self.path.with_name("gone")), ignore_errors=True)
        else:
            self.path.unlink()


class FailAt(StuckAt):
    """Raise an error in the process of `rank`, and make its normal exit wait, as with NCCL."""

    def end(self, rank: int) -> None:
        if self.rank == rank:
            atexit.register(time.sleep, 600)
            raise MemoryError
