"""Checkpoint files as files: whether they are whole, and which one a run goes on from."""

import logging
import pickle
import zipfile
from pathlib import Path

from tiny_imagenet.errors import UserError

log = logging.getLogger(__name__)


def resumable_checkpoint(run: Path) -> Path | None:
    """The checkpoint that a run goes on from: `last.ckpt`, or `previous.ckpt` where that is damaged; None for neither.

    Raises:
        UserError: there are checkpoints, and all are damaged.
    """
    damaged = []
    for name in ("last.ckpt", "previous.ckpt"):
        path = run / "checkpoints" / name
        if not path.exists():
            continue
        if is_whole(path):
            if damaged:
                log.warning(f"{damaged[0]} is damaged; going on from {path}.")
            return path
        damaged.append(path)
    if damaged:
        raise UserError(f"{' and '.join(map(str, damaged))} are damaged: start a new run without --ckpt_path.")
    return None


def is_whole(path: Path) -> bool:
    """Whether a checkpoint file is complete, by the checksums of all that it holds and as torch reads its directory."""
    import torch  # here, since sweeps and reports do without

    try:
        with zipfile.ZipFile(path) as archive:
            # torch stores without compression. It would read beyond an entry that says it is longer than it is, and
            # nothing of one that says it is a folder (0x10), without an error.
            if archive.testzip() or any(
                entry.file_size != entry.compress_size or entry.external_attr & 0x10 for entry in archive.infolist()
            ):
                return False
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        return "unsupported" in str(error).lower()  # It would run code; whoever loads it says so.
    except Exception:  # A damaged zip makes both raise errors of many kinds.
        return False
    return True
