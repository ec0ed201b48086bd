"""Runs a trial's training and test: ordinary `training.py` commands in their own processes, watched from outside."""

import csv
import ctypes
import math
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from tiny_imagenet.cli.printed import TRAINING
from tiny_imagenet.run.best_epoch import best_row
from tiny_imagenet.run.folder import METRICS
from tiny_imagenet.run.metric_names import IMAGE_SIZE
from tiny_imagenet.run.protocol import validates_on_test
from tiny_imagenet.sweep import study
from tiny_imagenet.sweep.claim import Claim

PATIENCE = 120  # seconds after which a pruned training that has not ended is killed
REASON = 500  # characters of an error that are kept, at most
PR_SET_PDEATHSIG = 1  # prctl(2)


class Signals:
    """Within the context, SIGINT, SIGTERM and SIGHUP are recorded in `received` and passed on to the training.

    The training has its own process group. Otherwise Ctrl-C in a terminal would reach it twice, and at the second it
    would exit without saving.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.process: subprocess.Popen | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)


def run_command(
    arguments: list[str], claim: Claim, signals: Signals, should_prune: Callable[[], bool]
) -> tuple[int, bool]:
    """Run a `training.py` command until it ends or `should_prune`, called about once a second, returns true.

    Its output is appended to the trial's log.txt. Returns its exit status (-N if signal N killed it), and whether it
    was pruned.
    """
    pruned_at = None
    with claim.log.open("ab") as log:
        process = subprocess.Popen(
            [*training_command(), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
            pass_fds=[claim.lock],  # The trial stays locked until its training ends, even if the sweep is killed.
            preexec_fn=_die_with_parent(),
        )
    try:
        signals.process = process
        if signals.received is not None:
            process.terminate()  # The signal came before the process started.
        while True:
            try:
                return process.wait(study.POLL), pruned_at is not None
            except subprocess.TimeoutExpired:
                pass
            if pruned_at is None and should_prune():
                pruned_at = time.monotonic()
                process.terminate()
            elif pruned_at is not None and time.monotonic() - pruned_at > PATIENCE:
                process.kill()
    finally:
        signals.process = None
        if process.poll() is None:  # An error here, such as a lost storage; the trial can be resumed later.
            process.terminate()
            process.wait()


def training_command() -> list[str]:
    return [sys.executable, str(TRAINING)]


def metric_by_epoch(run: Path, metric: str) -> dict[int, float]:
    """The metric by epoch, for the epochs for which the run's metrics.csv has a finite number."""
    return {int(row["epoch"]): row[metric] for row in _rows(run, metric)}


def result(run: Path, metric: str, mode: Literal["max", "min"]) -> float | None:
    """The metric of a run's best epoch, or of its last one if the test images would choose the best; None if none."""
    rows = _rows(run, metric)
    if not rows:
        return None
    return (rows[-1] if validates_on_test(run) else best_row(rows, metric, mode))[metric]


def _rows(run: Path, metric: str) -> list[dict[str, float]]:
    """The rows of a run's metrics.csv that have a finite number for the metric."""
    try:
        with (run / METRICS).open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row.get(metric)]
    except FileNotFoundError:
        return []
    columns = ("epoch", metric, IMAGE_SIZE)
    found = [{name: float(row[name]) for name in columns if row.get(name)} for row in rows]
    return [row for row in found if math.isfinite(row[metric])]


def error_of(log: Path, start: int, status: int) -> str:
    """Why a training failed: the last error in its log after byte `start`, else the last line, else the exit status."""
    with log.open("rb") as file:
        file.seek(start)
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if re.match(r"(.*: )?error: ", line)]
    # jsonargparse's errors have several lines.
    reason = [" ".join(lines[errors[-1] :]).split("error: ", 1)[1][:REASON]] if errors else lines[-1:]
    if status < 0:
        return ": ".join([f"killed by {signal.Signals(-status).name}", *reason])
    return reason[0] if reason else f"exit status {status}"


def _die_with_parent() -> Callable[[], None] | None:
    """Makes a new process receive SIGTERM when its parent is killed; None where the system has no prctl."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    return None if prctl is None else lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
