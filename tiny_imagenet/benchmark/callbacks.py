"""Callbacks of the trainings that are measured: a bare loop in turns with `fit`, and the time to the first step."""

import copy
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from tiny_imagenet.benchmark.cpu import cpu_seconds
from tiny_imagenet.benchmark.timing import synchronize
from tiny_imagenet.data.batches.loader import Batch
from tiny_imagenet.files import replace_text
from tiny_imagenet.optim import parameter_groups

TURN = "benchmark: a turn has ended"  # a line of the training, by which its progress is followed
DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}  # other precisions: float32


class BareLoop(Callback):
    """Runs a bare loop on one batch, which stays on the device, in turns with `fit`, and writes a comparison.

    A large matrix product takes turns with both: its rate is what a step could reach at most.

    Args:
        out: JSON file to write: images/s of both, images per CPU-second of `fit`, the median ratio over the turns, the
            operations per image, and the median share of the matrix product's rate.
        turn: number of steps in a turn of either.
    """

    WARM_UP = 1  # turns that are not counted

    def __init__(self, out: str, turn: int) -> None:
        self.out, self.turn = out, turn
        self.fit_turns: list[tuple[float, float]] = []  # start and end, by time.time()
        self.fit_seconds: list[float] = []
        self.fit_cpu_seconds: list[float] = []
        self.bare_seconds: list[float] = []
        self.peaks: list[float] = []  # operations per second of the matrix product
        self._resident: tuple[Tensor, Tensor] | None = None
        self._turn_began = self._cpu_began = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.network = copy.deepcopy(pl_module.network)
        self.optimizer = pl_module.optimizer(parameter_groups(self.network))
        self._product = MatrixProduct(pl_module.device, str(trainer.precision))

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        if batch_idx % self.turn:
            return
        synchronize()
        now = time.perf_counter()
        if self._resident is not None:
            self.fit_seconds.append(now - self._turn_began)
            self.fit_cpu_seconds.append(cpu_seconds() - self._cpu_began)
            self.fit_turns.append((time.time() - self.fit_seconds[-1], time.time()))
        else:
            both = (batch.images, batch.targets)
            self._resident = tuple(tensor.clone(memory_format=torch.preserve_format) for tensor in both)
        for _ in range(self.turn):
            self._step(trainer)
        synchronize()
        self.bare_seconds.append(time.perf_counter() - now)
        self.peaks.append(self._product.flops_per_second())
        print(TURN, flush=True)
        self._turn_began, self._cpu_began = time.perf_counter(), cpu_seconds()

    def _step(self, trainer: pl.Trainer) -> None:
        images, targets = self._resident
        with trainer.precision_plugin.forward_context():
            loss = cross_entropy(self.network(images), targets)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        images = len(self._resident[0]) * self.turn
        fit, bare = self.fit_seconds[self.WARM_UP :], self.bare_seconds[self.WARM_UP : len(self.fit_seconds)]
        peaks = self.peaks[self.WARM_UP :]
        with FlopCounterMode(display=False) as counter:
            self._step(trainer)
        flops = counter.get_total_flops() / len(self._resident[0])
        result = {
            "images_per_s": images / statistics.median(fit),
            "images_per_cpu_s": images / statistics.median(self.fit_cpu_seconds[self.WARM_UP :]),
            "bare_images_per_s": images / statistics.median(bare),
            "ratio": statistics.median(b / f for f, b in zip(fit, bare, strict=True)),
            "turns": self.fit_turns[self.WARM_UP :],
            "flops_per_image": flops,
            "share_of_peak": statistics.median(flops * images / f / p for f, p in zip(fit, peaks, strict=False)),
            "precision": str(trainer.precision),
        }
        replace_text(Path(self.out), json.dumps(result))


class FirstStep(Callback):
    """Writes the seconds from `started` (by time.time()) until training reached each stage, and ends the process."""

    def __init__(self, out: str, started: float) -> None:
        self.out, self.started = out, started
        self.reached: dict[str, float] = {}

    def _record(self, stage: str) -> None:
        self.reached[stage] = time.time() - self.started

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._record("imports, command line, data")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._record("network, loader")

    def on_train_batch_start(self, *args: Any) -> None:
        self._record("first batch")
        replace_text(Path(self.out), json.dumps(self.reached))
        os._exit(0)


class MatrixProduct:
    """A large matrix product in a run's precision."""

    TRIES = 3  # of which the fastest counts: other work on the machine only slows them down

    def __init__(self, device: torch.device, precision: str) -> None:
        dtype = DTYPES.get(precision, torch.float32)
        self.side = 8192 if device.type == "cuda" else 2048
        generator = torch.Generator().manual_seed(0)  # leaves the training's random numbers alone
        self.left, self.right = (
            torch.randn(self.side, self.side, generator=generator).to(device, dtype) for _ in range(2)
        )

    def flops_per_second(self) -> float:
        seconds = []
        for _ in range(self.TRIES):
            synchronize()
            start = time.perf_counter()
            self.left @ self.right
            synchronize()
            seconds.append(time.perf_counter() - start)
        return 2 * self.side**3 / min(seconds)
