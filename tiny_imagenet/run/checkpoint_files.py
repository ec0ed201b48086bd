"""Checkpoint files as files: whether they are whole, and which one a run goes on from."""

import errno
import logging
import pickle
import zipfile
from pathlib import Path

from tiny_imagenet.errors import UserError

log = logging.getLogger(__name__)

# What ImageClassifier and Lightning save, and what of it a training needs to go on.
SAVED = {"state_dict": dict, "dataset": dict, "loops": dict, "pytorch-lightning_version": str, "train_metrics": dict}
RESUMED = {"optimizer_states": list, "lr_schedulers": list, "callbacks": dict}
UNREADABLE = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


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
    """Whether a checkpoint file is complete, by the checksums of all that it holds and as torch reads its directory.

    Raises:
        OSError, MemoryError: it could not be read, which tells nothing about it.
    """
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
    except Exception as error:  # A damaged zip makes both raise errors of many kinds, of the system's too.
        if isinstance(error, MemoryError) or getattr(error, "errno", None) in UNREADABLE:
            raise
        return False
    return True


def require_checkpoint(path: Path, training: bool) -> None:
    """Raise UserError where a file is no checkpoint of this project, whatever else torch.load makes of it.

    Args:
        training: whether a training is to go on from it.
    """
    import torch  # here, since sweeps and reports do without

    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    content = content if isinstance(content, dict) else {}
    if "fit_loop" not in (content.get("loops") or {}):
        content.pop("loops", None)
    for expected, what in ((SAVED, "was not written by this project"), (RESUMED, "holds no training to go on with")):
        lacking = [name for name, kind in expected.items() if not isinstance(content.get(name), kind)]
        if lacking and (expected is SAVED or training):
            raise UserError(
                f"{path} {what}: it lacks {', '.join(lacking)}. Where it holds weights, a new run can start from them: "
                f"fit --model.weights {path}"
            )
