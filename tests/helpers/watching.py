"""Callbacks that record the images of a training, the files it writes, and its waits for a GPU or other processes."""

import hashlib
import json
import os
import sys
from collections import Counter
from pathlib import Path

import torch
from lightning.pytorch.callbacks import Callback
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.is_nonzero.default}
COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
PUTS = {torch.ops.aten.index_put_.default, torch.ops.aten.index_put.default}


class NoteWaits(Callback):
    """Writes to `out` how often each training step waited for `device`, counted from the end of the previous step.

    `cpu` can stand in for a GPU: it shows all waits except those of copies.
    """

    def __init__(self, out: str, device: str = "cpu") -> None:
        self.out, self.device, self.waits, self.mode = Path(out), device, [0], None

    def on_train_start(self, *args) -> None:
        callback = self

        class Mode(TorchDispatchMode):
            def __torch_dispatch__(self, function, types, arguments=(), options=None):
                options = options or {}
                callback.waits[-1] += waits(callback.device, function, arguments, options)
                return function(*arguments, **options)

        self.mode = Mode()
        self.mode.__enter__()

    def on_train_batch_end(self, *args) -> None:
        self.waits.append(0)

    def on_train_end(self, *args) -> None:
        if self.mode:
            self.mode.__exit__(None, None, None)
            self.mode = None
            self.out.write_text(json.dumps(self.waits))

    def on_exception(self, *args) -> None:
        self.on_train_end()


def waits(device: str, function, arguments: tuple, options: dict) -> bool:
    """Whether the CPU waits in an operation: it reads a value on `device`, or copies to or from it synchronously."""
    tensors = [leaf for leaf in tree_leaves((arguments, options)) if isinstance(leaf, torch.Tensor)]
    if function in READS:
        return tensors[0].device.type == device
    if function in COPIES:
        devices = {torch.device(options.get("device") or tensors[0].device).type, *(t.device.type for t in tensors)}
        non_blocking = options.get("non_blocking") or any(value is True for value in arguments)
        pinned = all(getattr(tensor, "pinned", False) for tensor in tensors if tensor.device.type == "cpu")
        return len(devices) > 1 and not (non_blocking and pinned)
    if function in PUTS and any(
        tensor.dtype == torch.bool and tensor.device.type == device for tensor in tensors[1:-1]
    ):
        return tensors[-1].numel() > 1  # It must count what the mask selects, unless a single value fills it.
    # A scalar on the CPU is passed with the command that uses it; other tensors, such as an index, are copied first.
    return len({tensor.device.type for tensor in tensors if tensor.ndim}) > 1


class ForbidWaits(Callback):
    """Makes a wait for the GPU an error, except in the first two steps of an epoch and the last."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        forbidden = 1 <= batch_idx < trainer.num_training_batches - 2
        torch.cuda.set_sync_debug_mode("error" if forbidden else "default")

    def on_exception(self, *args) -> None:
        torch.cuda.set_sync_debug_mode("default")


class NoteCollectives(Callback):
    """Writes to `out` which collective functions rank 0 called in each training step, counted as in `NoteWaits`.

    Those that average gradients are not called from Python, so they are not counted.
    """

    def __init__(self, out: str) -> None:
        self.out, self.calls = Path(out), [Counter()]

    def on_train_start(self, *args) -> None:
        for name in ("all_reduce", "all_gather", "all_gather_object", "broadcast", "broadcast_object_list"):
            setattr(torch.distributed, name, self.counting(name, getattr(torch.distributed, name)))

    def counting(self, name, function):
        def counted(*args, **kwargs):
            self.calls[-1][name] += 1
            return function(*args, **kwargs)

        return counted

    def on_train_batch_end(self, *args) -> None:
        self.calls.append(Counter())

    def on_train_end(self, trainer, module) -> None:
        if trainer.is_global_zero:
            self.out.write_text(json.dumps(self.calls))


class NoteImages(Callback):
    """Writes digests of the images that each rank trained on to the folder `out`, in a file per rank."""

    def __init__(self, out: str) -> None:
        self.out, self.digests = Path(out), []

    def on_train_batch_start(self, trainer, module, batch, *args) -> None:
        self.digests += [hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest() for image in batch[0]]

    def on_train_end(self, trainer, module) -> None:
        (self.out / f"rank_{trainer.global_rank}.json").write_text(json.dumps(self.digests))


class NoteWrites(Callback):
    """Writes to the folder `out`, in a file per rank, which files in `folder` it created, wrote, renamed or deleted.

    It records from the moment that the command line is parsed. Locks, by which ranks wait for each other, are left out.
    """

    def __init__(self, out: str, folder: str) -> None:
        self.out, self.folder, self.paths = Path(out), os.path.realpath(folder), set()
        sys.addaudithook(self.note)

    def note(self, event: str, arguments: tuple) -> None:
        if event in ("os.rename", "os.link"):
            written = arguments[:2]
        elif event == "os.mkdir" and os.path.isdir(arguments[0]):
            return
        elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate") or (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        ):
            written = arguments[:1]
        else:
            return
        for path in (os.path.realpath(os.fsdecode(path)) for path in written if not isinstance(path, int)):
            if path.startswith(self.folder) and not path.endswith(".lock"):
                self.paths.add(os.path.relpath(path, self.folder))

    def teardown(self, trainer, module, stage) -> None:
        (self.out / f"rank_{trainer.global_rank}.json").write_text(json.dumps(sorted(self.paths)))
