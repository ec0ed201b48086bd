"""What to tell the user of an exception that is a mistake or misfortune of theirs, and no fault of the program."""

import errno
import os
import pickle

import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from tiny_imagenet.errors import UserError

OUT_OF_MEMORY = (
    "out of memory: lower --data.batch_size, and keep the recipe's batch with --trainer.accumulate_grad_batches. ({})"
)


def told(error: BaseException | None) -> str | None:
    """The message of an exception, or of the first among its causes that has one; None of a fault of our own."""
    while error is not None:
        match error:
            case UserError():
                return str(error)
            case torch.OutOfMemoryError() | MemoryError():
                return OUT_OF_MEMORY.format(str(error).splitlines()[0] if str(error) else "MemoryError")
            case RuntimeError() if "can't allocate memory" in str(error):  # on a CPU
                return OUT_OF_MEMORY.format(str(error).rpartition("DefaultCPUAllocator: ")[2].splitlines()[0])
            case pickle.UnpicklingError():
                return (
                    "The checkpoint holds more than weights and plain values. It might run code, so it is not opened."
                )
            case RuntimeError() if str(error).startswith("Error(s) in loading state_dict"):
                return (
                    "The checkpoint's weights do not fit the network: give the arch, stem, width and blocks that it "
                    f"was trained with, or start a new run with --model.weights. ({str(error).splitlines()[1].strip()})"
                )
            case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EROFS):
                where = f"{os.fsdecode(error.filename)} " if error.filename else ""
                return (
                    f"{where}can't be written: {error.strerror}. Make room, or change to a folder on another disk; a "
                    "training that has a checkpoint goes on with --ckpt_path last."
                )
            case OSError(errno=errno.EACCES | errno.EPERM | errno.EIO | errno.ESTALE | errno.EISDIR | errno.ENOTDIR):
                return f"{os.fsdecode(error.filename) if error.filename else 'A file'}: {error.strerror}."
            case MisconfigurationException():
                return str(error)
            case RuntimeError() if str(error).startswith("Early stopping conditioned on metric"):
                return str(error)
            case ValueError() if "is not in bounds, numpy accepts" in str(error):
                return f"seed_everything: {error}."
            case ValueError() if str(error).strip().startswith("`val_check_interval`"):
                return str(error).strip()
            case ValueError() if str(error).startswith("Expected more than 1 value per channel"):
                return (
                    "A batch of a single image cannot be normalised where the network has shrunk it to one pixel: "
                    "choose --data.batch_size 3 or more, larger images, or --model.stem small."
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
    """The first line, and what NCCL, some lines later, says was the matter."""
    text = str(error)
    cause = " ".join(text.partition("Last error:")[2].split())
    return text.splitlines()[0][:200] + (f" NCCL says: {cause[:300]}" if cause else "")


def _is_of_connection(error: RuntimeError) -> bool:
    # NCCL and the store raise DistError; gloo, on CPUs, a plain RuntimeError from its own source files.
    kinds = (torch.distributed.DistError,) if torch.distributed.is_available() else ()
    return isinstance(error, kinds) or "gloo/transport" in str(error)
