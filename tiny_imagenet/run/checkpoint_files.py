"""Checkpoint files: whether they are whole and safe, which one a run resumes from, and which one is tested.

Sweeps and reports use it without torch, so torch is imported inside functions only.
"""

import errno
import logging
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiny_imagenet.errors import UserError
from tiny_imagenet.run.checkpoint_claims import Implausible, require_plausible
from tiny_imagenet.run.checkpoint_schema import first_fault, shown
from tiny_imagenet.run.folder import CHECKPOINTS, CONFIG, checkpoint_path, read_config, run_of
from tiny_imagenet.run.protocol import validates_on_test

log = logging.getLogger(__name__)

FORMAT = 3  # of checkpoints, raised when an earlier version could not read what is written; see tests/formats
FORMAT_KEY = "tiny_imagenet_format"  # missing in checkpoints from before 2026-11-29, which have format 1

# What ImageClassifier and Lightning save, and what of it a training needs to resume.
SAVED = {"state_dict": dict, "dataset": dict, "loops": dict, "pytorch-lightning_version": str, "train_metrics": dict}
RESUMED = {"optimizer_states": list, "lr_schedulers": list, "callbacks": dict}
# Errors that say nothing about the file's content.
UNREADABLE = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def checkpoint_to_resume(run: Path) -> Path | None:
    """The checkpoint that a run resumes from: `last.ckpt`, or `previous.ckpt` if that is damaged; None for neither.

    Raises:
        UserError: there are checkpoints, and all are damaged or cannot be resumed.
    """
    damaged = []
    for path in (checkpoint_path(run, name) for name in ("last", "previous")):
        if not path.exists():
            continue
        try:
            content = _content(path)
        except _Damaged:
            damaged.append(path)
            continue
        if damaged:
            log.warning(f"{damaged[0]} is damaged; resuming from {path}.")
        _require_schema(path, content, training=True)
        return path
    if damaged:
        verb = "is" if len(damaged) == 1 else "are"
        raise UserError(f"{' and '.join(map(str, damaged))} {verb} damaged: start a new run without --ckpt_path.")
    return None


def checkpoint_to_test(run: Path) -> Path | None:
    """A run's checkpoint to test: the best, or the last if the test images chose the best or there is no best."""
    names = ("last",) if validates_on_test(run) else ("best", "last")
    return next((path for name in names if (path := checkpoint_path(run, name)).is_file()), None)


def require_checkpoint(path: Path, training: bool) -> Path:
    """Open a checkpoint once, to see whether it can be used and which run it belongs to.

    Args:
        training: whether a training is to resume from it.

    Returns:
        The run's folder: that of the checkpoint's place, or where a callback of the user's saved it, that of the run.

    Raises:
        UserError: the file is damaged, would run code, was not written by this project, or has no training state.
    """
    try:
        content = _content(path)
    except _Damaged as error:
        reason = f": {error}" if str(error) else ""
        raise UserError(f"{path} is damaged or no checkpoint{reason}.{_others(path)}") from error
    _require_schema(path, content, training)
    run, trained_in = run_of(path), content.get("run")
    if (run / CONFIG).exists() or not isinstance(trained_in, str):
        return run
    return Path(trained_in) if _saves_in(Path(trained_in), path.parent) else run


def require_known_format(name: Path | str, content: Mapping[str, Any]) -> None:
    """Raise UserError if a checkpoint was written by a later version of this project, in a format of its own.

    Args:
        name: of the checkpoint, for the message.
        content: of the checkpoint.
    """
    found = content.get(FORMAT_KEY, 1)
    if not isinstance(found, int) or found > FORMAT:
        raise UserError(
            f"{name} has format {shown(found)}, of a later version of this project; this one reads formats up to "
            f"{FORMAT}. Update the project, such as by git pull."
        )


def _saves_in(run: Path, folder: Path) -> bool:
    """Whether a callback of a run's config saves in a folder: a checkpoint alone, from anyone, may name any run."""
    try:
        callbacks = read_config(run)["trainer"]["callbacks"]
        callbacks = callbacks if isinstance(callbacks, list) else [callbacks]  # a single one
        paths = [each.get("init_args", {}).get("dirpath") for each in callbacks]
        return any(Path(path).resolve() == folder.resolve() for path in paths if isinstance(path, str))
    except (OSError, UserError, LookupError, AttributeError, TypeError, ValueError):
        return False


def require_same_training(
    checkpoint: Mapping[str, Any], data_before: Mapping[str, Any] | None, data: Mapping[str, Any], steps: int | None
) -> None:
    """Refuse to resume a training whose position in an epoch, or whose schedule, would mean something else now.

    Args:
        checkpoint: its content.
        data_before: `images`, `steps_per_epoch`, `digest` and `decoded_by` of the checkpoint's training, None if it
            does not say; the last two are missing in checkpoints of earlier versions.
        data: those of the training now.
        steps: of the whole training now, if its schedule advances by steps; otherwise None.

    Raises:
        UserError: an epoch has other images or batches than before, the checkpoint does not say how many it had, or the
            schedule ends before the training would.
    """
    before = data if data_before is None else data_before
    if not isinstance(before, dict) or any(type(before.get(n)) is not int for n in ("images", "steps_per_epoch")):
        raise UserError("The checkpoint is damaged: it does not say how many images and batches an epoch has.")
    was, now = ("{images:,} images in {steps_per_epoch:,} batches".format(**each) for each in (before, data))
    if was != now:
        raise UserError(
            f"The checkpoint is of a training with {was} an epoch; now it would be {now}. Resume with the same data, "
            "holdout, batch size and number of devices, or start a new run from it with --model.weights."
        )
    if "digest" not in before:
        log.info("The checkpoint is of an earlier version and does not say which images it was trained on.")
    elif before["digest"] != data["digest"] and before.get("decoded_by") != data["decoded_by"]:
        log.warning(
            f"The images were decoded by {before.get('decoded_by')} and are now by {data['decoded_by']}: some pixels "
            "differ, so the training goes on a little differently."
        )
    elif before["digest"] != data["digest"]:
        raise UserError(
            "The checkpoint is of a training on other images, although their number is the same. Resume with the same "
            "data, or start a new run from it with --model.weights."
        )
    for schedule in checkpoint["lr_schedulers"] if steps is not None else ():
        # WarmupCosine adapts to another number of steps, and saves none.
        if schedule.get("total_steps", steps) < steps:
            raise UserError(
                f"The checkpoint's schedule ends after {schedule['total_steps']:,} steps, and this training after "
                f"{steps:,}. Resume with the epochs that it had, or start a new run from it with --model.weights."
            )


def is_whole(path: Path) -> bool:
    """Whether a checkpoint file is complete, by the checksums of all that it holds and as torch reads its directory.

    Raises:
        OSError, MemoryError: it could not be read, which says nothing about its content.
    """
    try:
        _content(path)
    except _Damaged:
        return False
    except pickle.UnpicklingError:  # It would run code; whoever loads it says so.
        pass
    return True


class _Damaged(Exception):
    """A checkpoint file is not whole; the message may say why."""


def _content(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, its tensors left on the disk.

    Raises:
        _Damaged: it is not whole.
        OSError, MemoryError: it could not be read.
        pickle.UnpicklingError: it would run code.
    """
    import torch

    try:
        require_plausible(path)
        with zipfile.ZipFile(path) as archive:
            if archive.testzip():
                raise _Damaged
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return content if isinstance(content, dict) else {}
    except _Damaged:
        raise
    except Implausible as error:
        raise _Damaged(str(error)) from error
    except pickle.UnpicklingError as error:
        if "unsupported" in str(error).lower():  # It would run code.
            raise
        raise _Damaged from error
    except Exception as error:  # A damaged zip makes both raise errors of many kinds, of the system's too.
        if isinstance(error, MemoryError) or getattr(error, "errno", None) in UNREADABLE:
            raise
        raise _Damaged from error


def _require_schema(path: Path, content: Mapping[str, Any], training: bool) -> None:
    require_known_format(path, content)
    loops = content.get("loops")
    content = {**content, "loops": loops if isinstance(loops, dict) and "fit_loop" in loops else None}
    for expected, what in ((SAVED, "was not written by this project"), (RESUMED, "has no training state to resume")):
        missing = [name for name, kind in expected.items() if not isinstance(content.get(name), kind)]
        if missing and (expected is SAVED or training):
            raise UserError(
                f"{path} {what}: it lacks {', '.join(missing)}. If it holds weights, start a new run from them: "
                f"fit --model.weights {path}"
            )
    if fault := first_fault(content, training):
        raise UserError(f"{path} is damaged: {fault}.{_others(path)}")


def _others(path: Path) -> str:
    return f" The run's other checkpoints are in {path.parent}." if path.parent.name == CHECKPOINTS else ""
