"""The processes of a run on several devices end together, whichever of them fails."""

import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress

import lightning.pytorch as pl
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from tiny_imagenet.errors import UserError, user_message
from tiny_imagenet.run.stop_signals import Interrupted

GRACE = 10  # seconds that a process has to end by itself after its launcher died


class EndTogether(Callback):
    """Exits at once from a process that failed, and from one whose launcher died.

    At a normal exit NCCL waits for the other processes, up to half an hour, while they wait for this one; nor does it
    notice that another is gone (https://github.com/pytorch/torchtitan/issues/1342). The first process waits for the
    checkpoints that it is writing, unless Lightning kills it because a process that it launched has failed.
    """

    def __init__(self) -> None:
        self._training = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        environment = getattr(trainer.strategy, "cluster_environment", None)
        if isinstance(environment, LightningEnvironment) and environment.local_rank() > 0:
            threading.Thread(target=_end_after, args=(os.getppid(),), daemon=True, name="launcher").start()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._training = True

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        # On an interruption all processes have agreed, and an error before the training is the same in all of them.
        in_all = isinstance(exception, Interrupted) or (isinstance(exception, UserError) and not self._training)
        if trainer.world_size == 1 or in_all:
            return
        status = {KeyboardInterrupt: 128 + signal.SIGINT, SIGTERMException: 128 + signal.SIGTERM}.get(type(exception))
        if message := user_message(exception):
            print(f"error: {message}", file=sys.stderr)
        elif status is None:
            traceback.print_exception(exception)
        for logger in trainer.loggers:
            with suppress(Exception):
                logger.finalize("failed")
        trainer.strategy.checkpoint_io.teardown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status or 1)


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    time.sleep(GRACE)
    print(
        "error: The process that launched this one is gone. Start the training again with --ckpt_path last to resume.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)
