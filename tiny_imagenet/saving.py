"""How checkpoints are written: by a thread of its own, beside, then renamed, so that `last.ckpt` is always whole."""

import io
import logging
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from tiny_imagenet.errors import UserError
from tiny_imagenet.files import to_disk

log = logging.getLogger(__name__)


class CheckpointWriter(CheckpointIO):
    """Writes `last.ckpt` while the training goes on; the one before it becomes `previous.ckpt`.

    The training waits for a copy of its tensors in memory, and for a save before this one that is not done yet. An
    error of the thread is raised at the next save or by `wait`, as a UserError.

    Args:
        reader: loads and removes checkpoints.
    """

    def __init__(self, reader: CheckpointIO) -> None:
        self._reader = reader
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._writing: Future[None] | None = None

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: dict[str, bool] | None = None
    ) -> None:
        """Copy a checkpoint, to be written to `path`; with {"best": True} it becomes `best.ckpt` there as well."""
        self.wait()
        # Containers are copied with it; only the CPU's memory is certain to have room for a second set of tensors.
        copied = apply_to_collection(checkpoint, Tensor, lambda tensor: tensor.detach().to("cpu", copy=True))
        self._writing = self._thread.submit(_write, copied, Path(path), **(storage_options or {}))

    def wait(self) -> None:
        """Return when all is on the disk."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def teardown(self) -> None:
        """Wait, at the end of a training or after an error, of which nothing may distract."""
        try:
            self.wait()
        except UserError as error:
            log.warning(str(error))
        self._thread.shutdown()

    def load_checkpoint(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return self._reader.load_checkpoint(*args, **kwargs)

    def remove_checkpoint(self, path: str | Path) -> None:
        self._reader.remove_checkpoint(path)


def _write(checkpoint: dict[str, Any], last: Path, best: bool = False) -> None:
    folder = last.parent
    beside = folder / ".saving.ckpt"
    content = io.BytesIO()
    torch.save(checkpoint, content)  # which tells a full disk in other words than files do
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content.getbuffer())
        to_disk(beside)
        if best:  # Before `last`: a run killed in between repeats this epoch's end, and so does best.ckpt.
            _link(beside, folder / "best.ckpt")
        if last.exists():
            _link(last, folder / "previous.ckpt")
        os.replace(beside, last)
        to_disk(folder)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise UserError(
            f"The checkpoint could not be saved in {folder}: {error.strerror}. Those before are whole: make room, then "
            "resume with --ckpt_path last."
        ) from error


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, replacing what has that name; on file systems without hard links, a copy."""
    beside = target.with_name(f".{target.name}")
    beside.unlink(missing_ok=True)
    try:
        os.link(source, beside)
    except OSError:
        shutil.copyfile(source, beside)
        to_disk(beside)
    os.replace(beside, target)
