"""Nine minutes of a GPU: its tests, the speed of training, and a record of as many epochs as the rest allows.

python -m tiny_imagenet.benchmark.gpu_quick [--minutes 9] [any option of training.py fit]
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from tiny_imagenet import hardware
from tiny_imagenet.benchmark.data_options import add_data_options, fit_options, prepared_data
from tiny_imagenet.benchmark.estimate import Costs, fit_seconds, measured_costs
from tiny_imagenet.benchmark.stages import BATCH, Training, fit_row, plan
from tiny_imagenet.benchmark.table import Row, machine, row, training_rows
from tiny_imagenet.cli import arguments
from tiny_imagenet.cli.logs import show_log
from tiny_imagenet.cli.printed import TRAINING
from tiny_imagenet.errors import UserError
from tiny_imagenet.files import replace_text
from tiny_imagenet.progress import duration_text
from tiny_imagenet.report.finding import find_runs
from tiny_imagenet.report.runs import Run
from tiny_imagenet.report.tables import in_markdown

RECORD = "records/tiny_resnet18_fast"
# Configs and batch sizes. The record's own speed comes first: it decides about the number of epochs.
TRAININGS = [(RECORD, 256), *((f"resnet{depth}_aug", size) for depth in (18, 50) for size in (256, 1024))]
TESTS = 0.3  # share of the time that the tests may take
KEPT = 0.4  # share of the time that other trainings leave to the record
ENDING = 10  # seconds in which the record saves and exits


class Countdown:
    """The seconds that are left."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._end = seconds, time.monotonic() + seconds

    def left(self) -> float:
        return self._end - time.monotonic()


def main(argv: list[str] | None = None) -> None:
    """Run the GPU tests, measure training, and train a record for the minutes that are left, once the data is there."""
    options, of_training = _parser().parse_known_args(argv)
    if not torch.cuda.is_available():
        sys.exit("torch finds no usable GPU; check the output of nvidia-smi")
    show_log()
    measure(options, of_training, torch.device("cuda"))


def measure(options: argparse.Namespace, of_training: list[str], device: torch.device) -> None:
    """All of it, on this device; prints a table and the row for README, and writes both to gpu_quick.md."""
    data = prepared_data(options, holdout=0, batch_size=BATCH)  # validation as the record has it
    countdown, of_training = Countdown(60 * options.minutes), [*fit_options(options), *of_training]
    hardware.set_up(device.type, None, single_pixels=False)
    rows = [row("GPU tests", gpu_tests(TESTS * countdown.seconds))]
    costs = measured_costs(data, device)
    planned = [plan(*each, device, len(data.sets["train"]), costs.step, None) for each in TRAININGS]
    found = measured_trainings(planned, of_training, device, costs, countdown)
    rows += training_rows(found)
    sizes = (len(data.sets["train"]), len(data.sets["val"]))
    of_record, text = record_rows(found[planned[0].name], of_training, sizes, countdown.left() - costs.start - ENDING)
    rows.append(of_record)
    conditions = ", ".join(f"{name} {value}" for name, value in machine().items())
    text = f"Measured by `make gpu-quick`: {conditions}.\n\n{in_markdown(pd.DataFrame(rows))}{text}"
    print(text)
    replace_text(options.out / "gpu_quick.md", text)


def gpu_tests(seconds: float) -> str:
    """The last line of the GPU tests, which are killed after so many seconds, with the trainings that they started."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q"]
    with subprocess.Popen(
        command,
        cwd=TRAINING.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as tests:
        try:
            output, _ = tests.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return f"not finished in {duration_text(seconds)}"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(tests.pid, signal.SIGKILL)
    if tests.returncode:
        print(output)
    lines = output.strip().splitlines()
    return lines[-1].strip("= ") if lines else f"exit status {tests.returncode}"


def measured_trainings(
    planned: list[Training], of_training: list[str], device: torch.device, costs: Costs, countdown: Countdown
) -> dict[str, dict[str, Any]]:
    """The speed of each training by its name, as far as they leave time for the record."""
    found = {}
    for training in planned:
        if countdown.left() - fit_seconds(costs, training) < KEPT * countdown.seconds:
            found[training.name] = {"failed": "no time was left for it"}
            continue
        # With images of full size throughout, since those take longest.
        full_size = ["--data.progressive=null"] if training.recipe == RECORD else []
        found[training.name] = fit_row(training, [*of_training, *full_size], device)
    return found


def record_rows(
    speed: dict[str, Any], of_training: list[str], sizes: tuple[int, int], seconds: float
) -> tuple[Row, str]:
    """Train the record for so many seconds at most. Its row in the table, and the one for README if it ended well.

    Args:
        speed: of the record, see `fit_row`.
        sizes: training images and evaluated images.
    """
    epochs = 0 if "failed" in speed else epochs_that_fit(seconds, *sizes, speed["images_per_s"])
    if epochs == 0:
        return row(RECORD, "failed", speed.get("failed", "no time was left for an epoch")), ""
    try:
        run = trained_record(of_training, epochs, seconds)
    except (RuntimeError, UserError) as error:
        return row(f"{RECORD}, {epochs} epochs", "failed", str(error)), ""
    return row(f"{RECORD}, {epochs} epochs", *accuracy(run)), f"\n{readme_row(run, machine())}\n"


def epochs_that_fit(seconds: float, train: int, evaluated: int, rate: float) -> int:
    """How many epochs take no longer; 0 if not even one does.

    Args:
        train, evaluated: images of an epoch. The record evaluates two views of each, in a third of a step's time.
        rate: images/s of training.
    """
    return max(0, int(seconds * rate / (train + evaluated * 2 / 3)))


def trained_record(of_training: list[str], epochs: int, seconds: float) -> Run:
    """Train the record, but no longer than so many seconds.

    Raises:
        RuntimeError: it failed.
        UserError: it finished no epoch, or the options are not valid.
    """
    limits = [f"--trainer.max_epochs={epochs}", f"--trainer.max_time={{seconds: {seconds:.0f}}}"]
    command = ["fit", f"--config={RECORD}.yaml", *of_training, *limits]
    run = arguments.plan(command).run
    if status := subprocess.run([sys.executable, str(TRAINING), *command]).returncode:
        raise RuntimeError(f"exit status {status}")
    return find_runs(run).runs[0]


def accuracy(run: Run) -> tuple[str, str]:
    """What the last epoch reached, and in what time."""
    result = run.results
    stopped = "" if run.finished else f"; stopped after {result['epochs']} epochs, before its learning rate was 0"
    return f"{result['val top-1 (%)']:.1f} % top-1", f"{duration_text(60 * result['minutes'])} of training{stopped}"


def readme_row(run: Run, conditions: dict[str, str]) -> str:
    """A line for README's table of full-length runs."""
    result = run.results
    return (
        f"| [`{Path(RECORD).name}.yaml`](configs/{RECORD}.yaml) | Tiny ImageNet, official validation images "
        f"| {conditions['device']} | {result['epochs']} | {result['minutes']:.1f} "
        f"| **{result['val top-1 (%)']:.1f} %** | {result['val top-5 (%)']:.1f} % | {conditions['date']} |"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tiny_imagenet.benchmark.gpu_quick", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmark"), help="folder to write gpu_quick.md to")
    parser.add_argument("--minutes", type=float, default=9, help="minutes that all of it may take")
    add_data_options(parser)
    return parser


if __name__ == "__main__":
    main()
