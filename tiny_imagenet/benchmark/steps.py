"""Training steps: the real `fit` in turns with a bare loop, and the time from the command to the first step."""

import json
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

import torch
from torch import nn
from torchvision.models import get_model

from tiny_imagenet.benchmark.callbacks import TURN, BareLoop, FirstStep
from tiny_imagenet.benchmark.pipelines import ancestor_transforms, image_files
from tiny_imagenet.benchmark.timing import Contestant, synchronize
from tiny_imagenet.cli.printed import TRAINING
from tiny_imagenet.models import build_resnet
from tiny_imagenet.progress import progress
from tiny_imagenet.run.checkpoint_writer import UNFINISHED, CheckpointWriter


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
