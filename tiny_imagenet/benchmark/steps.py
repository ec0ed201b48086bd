"""Training steps: the real `fit` in turns with a bare loop, and the time from the command to the first step."""

import copy
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model

from tiny_imagenet.benchmark.pipelines import ancestor_transforms, image_files
from tiny_imagenet.benchmark.timing import Contestant, synchronize
from tiny_imagenet.cli.printed import TRAINING
from tiny_imagenet.data.batches.loader import Batch
from tiny_imagenet.files import replace_text
from tiny_imagenet.models import build_resnet
from tiny_imagenet.optim import parameter_groups
from tiny_imagenet.progress import progress
from tiny_imagenet.run.checkpoint_writer import UNFINISHED, CheckpointWriter

TURN = "benchmark: a turn has ended"  # a line of the training, by which its progress is followed
DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}  # other precisions: float32


class BareLoop(Callback):
    """Runs a bare loop on one batch, which stays on the device, in turns with `fit`, and writes a comparison.

    A large matrix product takes turns with both: its rate is what a step could reach at most.

    Args:
        out: JSON file to write: images/s of both, the median ratio over the turns, the operations per image, and the
            median share of the matrix product's rate.
        turn: number of steps in a turn of either.
    """

    WARM_UP = 1  # turns that are not counted

    def __init__(self, out: str, turn: int) -> None:
        self.out, self.turn = out, turn
        self.fit_turns: list[tuple[float, float]] = []  # start and end, by time.time()
        self.fit_seconds: list[float] = []
        self.bare_seconds: list[float] = []
        self.peaks: list[float] = []  # operations per second of the matrix product
        self._resident: tuple[Tensor, Tensor] | None = None
        self._turn_began = 0.0

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
        self._turn_began = time.perf_counter()

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


def fit_beside_bare_loop(options: list[str], steps: int, turn: int) -> dict[str, Any]:
    """Images/s of `training.py fit` with these options, and of a bare loop in turns with it. See `BareLoop`.

    Args:
        steps: training steps of each.
        turn: number of steps in a turn of either.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "steps.json"
        with gpu_use() as samples, progress("training", -(-steps // turn), "turns") as advance:
            _fit(folder, [*options, "--trainer.devices=1", "--trainer.max_epochs=1", "--trainer.limit_val_batches=2",
                          f"--trainer.callbacks+={BareLoop.__module__}.BareLoop", f"--trainer.callbacks.out={out}",
                          f"--trainer.callbacks.turn={turn}", f"--trainer.limit_train_batches={steps}"],
                 lambda line: line == TURN and advance(1))  # fmt: skip
        found = json.loads(out.read_text())
    # A sample covers some tenths of a second before it.
    of_fit = [percent for at, percent in samples if any(start + 0.2 < at < end for start, end in found["turns"])]
    return found | {"turns": len(found["turns"]), "gpu_percent": statistics.mean(of_fit) if of_fit else None}


def first_step(options: list[str]) -> dict[str, float]:
    """Seconds from the command until each stage up to the first training step; the keys name what was done by then."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "first.json"
        _fit(folder, [*options, f"--trainer.callbacks+={FirstStep.__module__}.FirstStep",
                      f"--trainer.callbacks.out={out}", f"--trainer.callbacks.started={time.time()}"])  # fmt: skip
        return json.loads(out.read_text())


def import_seconds() -> float:
    """Seconds that Python needs to import LightningCLI."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import lightning.pytorch.cli"], check=True)
    return time.perf_counter() - start


def ancestor_training(folder: Path, workers: int, device: torch.device, classes: int) -> Contestant:
    """Steps of the script that this project is derived from: its transforms, 224×224, batch 64, plain SGD, float32."""
    network = get_model("resnet18", num_classes=classes).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    contestant, batches = image_files(folder, ancestor_transforms(), 64, workers, device)

    def step() -> int:
        images, targets = (tensor.to(device) for tensor in next(batches))
        loss = nn.functional.cross_entropy(network(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return len(images)

    return Contestant(step, contestant.untimed, contestant.ahead)


def saving_seconds(device: torch.device, rounds: int) -> dict[str, list[float]]:
    """Seconds that training waits for a save, and until the save is on the disk: a ResNet-18, momentum and average."""
    weights = build_resnet("resnet18", 200).to(device).state_dict()
    checkpoint = {what: {k: v.clone() for k, v in weights.items()} for what in ("now", "momentum", "mean")}
    writer, found = CheckpointWriter(), {"waits": [], "on the disk": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            synchronize()
            start = time.perf_counter()
            writer.save_checkpoint(checkpoint, Path(folder) / UNFINISHED)
            found["waits"].append(time.perf_counter() - start)
            writer.wait()
            found["on the disk"].append(time.perf_counter() - start)
    writer.teardown()
    return found


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


@contextmanager
def gpu_use() -> Iterator[list[tuple[float, int]]]:
    """Samples the GPU within the context: a growing list of (time by time.time(), utilisation in percent)."""
    samples: list[tuple[float, int]] = []
    if shutil.which("nvidia-smi") is None:
        yield samples
        return
    device = f"GPU-{torch.cuda.get_device_properties().uuid}" if torch.cuda.is_available() else "0"
    query = ["nvidia-smi", f"--id={device}", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits",
             "--loop-ms=100"]  # fmt: skip
    with subprocess.Popen(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as sampling:

        def read() -> None:
            samples.extend((time.time(), int(line)) for line in sampling.stdout if line.strip().isdigit())

        reading = threading.Thread(target=read)
        reading.start()
        try:
            yield samples
        finally:
            sampling.terminate()
            reading.join()


def _fit(folder: str, options: list[str], heard: Callable[[str], Any] = lambda line: None) -> None:
    """Run `training.py fit` to its end, and call `heard` with each line that it prints."""
    command, said = [sys.executable, str(TRAINING), "fit", *options], deque(maxlen=30)
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as training:
        for line in training.stdout:
            said.append(line)
            heard(line.rstrip())
    if training.returncode:
        raise RuntimeError(f"training.py fit {' '.join(options)} failed:\n{''.join(said)}")
