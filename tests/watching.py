"""A callback that notes in which training steps a tensor's value is read, which makes a GPU wait."""

import json
from pathlib import Path

import torch
from lightning.pytorch.callbacks import Callback
from torch.utils._python_dispatch import TorchDispatchMode

READS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.is_nonzero.default}


class NoteReads(Callback):
    """Writes to `out` how many values were read in each training step, from the end of the one before to its own."""

    def __init__(self, out: str) -> None:
        self.out, self.reads = Path(out), [0]

    def on_train_start(self, *args) -> None:
        callback = self

        class Mode(TorchDispatchMode):
            def __torch_dispatch__(self, function, types, arguments=(), options=None):
                callback.reads[-1] += function in READS
                return function(*arguments, **(options or {}))

        self.mode = Mode()
        self.mode.__enter__()

    def on_train_batch_end(self, *args) -> None:
        self.reads.append(0)

    def on_train_end(self, *args) -> None:
        self.mode.__exit__(None, None, None)
        self.out.write_text(json.dumps(self.reads))
