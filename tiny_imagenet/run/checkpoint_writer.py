"""How checkpoints are written: by a thread, under another name, then renamed, so that `last.ckpt` is always whole."""

import io
import logging
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from tiny_imagenet.errors import UserError
from tiny_imagenet.files import to_disk
from tiny_imagenet.run.checkpoint_files import is_whole

log = logging.getLogger(__name__)

UNFINISHED = ".saving.ckpt"


class CheckpointWriter(TorchCheckpointIO):
    """Writes a run's checkpoints, which are saved as `UNFINISHED`, while the training continues.

    The training waits for a copy of its tensors in memory, and for an earlier save that is not done yet. Then a thread
    makes the checkpoint `last.ckpt` of its folder, and `best.ckpt` too if `best` is set; the last one before it becomes
    `previous.ckpt`. Checkpoints of other names are saved as Lightning does.
    """

    def __init__(self) -> None:
        self.best = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._writing: Future[None] | None = None
        self._wrote_last = False

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Copy a checkpoint, for the thread to write.

        Raises:
            UserError: the checkpoint before it could not be written.
        """
        path = Path(path)
        if path.name != UNFINISHED:
            return super().save_checkpoint(checkpoint, path, storage_options)
        self.wait()
        # Copied to the CPU's memory, since a device may have no room for all tensors twice. Containers are copied with
        # them, but state_dict loses _metadata, the versions of its modules, which ResNets do not need.
        copied = apply_to_collection(checkpoint, Tensor, lambda tensor: tensor.detach().to("cpu", copy=True))
        self._writing = self._thread.submit(self._write, copied, path, self.best)

    def wait(self) -> None:
        """Return when the checkpoint has reached the disk.

        Raises:
            UserError: it could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def require_written(self) -> None:
        """As `wait`, but without waiting for a checkpoint that is still being written."""
        if self._writing is not None and self._writing.done():
            self.wait()

    def teardown(self) -> None:
        """Wait, at the end of a training or after another error, which an error of this thread must not hide."""
        try:
            self.wait()
        except Exception as error:
            log.warning(str(error))
        self._thread.shutdown()

    def _write(self, checkpoint: dict[str, Any], beside: Path, best: bool) -> None:
        folder = beside.parent
        last = folder / "last.ckpt"
        content = io.BytesIO()
        torch.save(checkpoint, content)  # to memory: its own message about a full disk differs from that of files
        try:
            folder.mkdir(exist_ok=True)
            # What a killed run left here may be best.ckpt under another name, a hard link.
            beside.unlink(missing_ok=True)
            beside.write_bytes(content.getbuffer())
            to_disk(beside)
            if best:  # Before `last`: a run killed in between repeats the end of this epoch, and writes it again.
                _link(beside, folder / "best.ckpt")
            # A damaged one must not replace the one before it, and the user may have deleted it.
            if last.exists() and (self._wrote_last or is_whole(last)):
                _link(last, folder / "previous.ckpt")
            os.replace(beside, last)
            to_disk(folder)
        except FileNotFoundError as error:
            raise folder_gone(folder.parent) from error
        except OSError as error:
            with suppress(OSError):
                beside.unlink()
            raise UserError(
                f"The checkpoint could not be saved in {folder}: {error.strerror}. Earlier checkpoints are whole: free "
                "some space, then resume with --ckpt_path last."
            ) from error
        self._wrote_last = True


def folder_gone(run: Path) -> UserError:
    return UserError(f"The run's folder was moved or deleted during the training: {run} is gone.")


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, replacing another file of that name; copy it on file systems without hard links."""
    beside = target.with_name(f".{target.name}")
    beside.unlink(missing_ok=True)
    try:
        os.link(source, beside)
    except OSError:
        shutil.copyfile(source, beside)
        to_disk(beside)
    os.replace(beside, target)
