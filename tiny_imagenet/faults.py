"""What to tell the user of an exception that is a mistake or misfortune of theirs, and no fault of the program."""

import os
import pickle

import torch

from tiny_imagenet.errors import UserError


def told(error: BaseException | None) -> str | None:
    """The message of an exception, or of the first among its causes that has one; None of a fault of our own."""
    while error is not None:
        match error:
            case UserError():
                return str(error)
            case torch.OutOfMemoryError():
                return (
                    "out of memory: lower --data.batch_size, and keep the recipe's batch with "
                    f"--trainer.accumulate_grad_batches. ({str(error).splitlines()[0]})"
                )
            case pickle.UnpicklingError():
                return (
                    "The checkpoint holds more than weights and plain values. It might run code, so it is not opened."
                )
            case FileNotFoundError(filename=gone) if "tfevents" in str(gone):
                return f"The run's folder was moved or deleted while it was written to: {os.fsdecode(gone)} is gone."
            case RuntimeError() if "EADDRINUSE" in str(error):
                return f"The port by which processes meet is in use: choose another --master_port. ({_line(error)})"
            case RuntimeError() if _is_of_connection(error):
                return (
                    "The connection to another process of this run is lost, or was never made: it was killed, or "
                    "failed with a message of its own, or its machine is gone. Start all processes again; a training "
                    "goes on with --ckpt_path last. "
                    f"({_line(error)})"
                )
        error = error.__cause__ or error.__context__
    return None


def _line(error: RuntimeError) -> str:
    return str(error).splitlines()[0][:200]


def _is_of_connection(error: RuntimeError) -> bool:
    # NCCL and the store raise DistError; gloo, on CPUs, a plain RuntimeError from its own source files.
    kinds = (torch.distributed.DistError,) if torch.distributed.is_available() else ()
    return isinstance(error, kinds) or "gloo/transport" in str(error)
