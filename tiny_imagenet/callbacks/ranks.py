"""The processes of a run on several devices end together, whichever of them fails."""

import os
import sys
import threading
import time
import traceback
from contextlib import suppress

import lightning.pytorch as pl
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.callbacks import Callback

from tiny_imagenet.faults import told
from tiny_imagenet.resume import Interrupted

GRACE = 10  # seconds that a process gets to end by itself when the one that started it is gone


class Ranks(Callback):
    """Ends a process whose training failed at once, and one whose starter is gone.

    At a normal exit NCCL waits for the other processes, up to half an hour, while they wait for this one; nor does it
    notice that another is gone (https://github.com/pytorch/torchtitan/issues/1342). Checkpoints that are being written
    are waited for.
    """

    def __init__(self) -> None:
        self._several = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._several = trainer.world_size > 1
        environment = getattr(trainer.strategy, "cluster_environment", None)
        if isinstance(environment, LightningEnvironment) and environment.local_rank() > 0:
            threading.Thread(target=_end_after, args=(os.getppid(),), daemon=True, name="starter").start()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if not self._several or isinstance(exception, Interrupted):  # which all processes have agreed upon
            return
        if message := told(exception):
            print(f"error: {message}", file=sys.stderr)
        else:
            traceback.print_exception(exception)
        for logger in trainer.loggers:
            with suppress(Exception):
                logger.finalize("failed")
        trainer.strategy.checkpoint_io.teardown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    time.sleep(GRACE)
    print(
        "error: The process that started this one is gone. Start the training again; it goes on with --ckpt_path last.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)
