"""Sweeps in an empty folder, with real processes that only write the files which a training writes."""

import csv
import json
import multiprocessing
import signal
import sys
import time
from pathlib import Path

import pytest
import yaml

from tiny_imagenet.sweep import study, training
from tiny_imagenet.sweep.__main__ import main

# Three epochs, with val/top1 of 0.5, 1 and 0.9 times the option `score`. It records its command line in starts.txt.
# A score of several, such as 0.3:0.6:bad, has one for each seed from 0.
# In the second epoch it waits while a file `hold` exists.
TRAINING = """
import json, os, signal, sys, time
from pathlib import Path

if sys.argv[1] == "test":
    checkpoint = Path(sys.argv[2].removeprefix("--ckpt_path="))
    with open("tests.txt", "a") as file:
        file.write(str(checkpoint) + "\\n")
    with open("test_arguments.txt", "a") as file:
        file.write(json.dumps(sys.argv) + "\\n")
    if not checkpoint.exists() or Path("untestable").exists():
        sys.exit("error: nothing to test")
    (checkpoint.parent.parent / "test_metrics.json").write_text(json.dumps({"top1": 0.5}))
    sys.exit()
options = dict(argument[2:].split("=", 1) for argument in sys.argv[2:] if "=" in argument)
folder = Path("runs") / options["name"]
resumed = options.get("ckpt_path") == "last"
run = folder / f"version_{len(list(folder.glob('version_*'))) - resumed}"
(run / "checkpoints").mkdir(parents=True, exist_ok=True)
checkpoint = run / "checkpoints" / "last.ckpt"

def note(name, entry):
    with open(name, "a") as file:
        file.write(json.dumps(entry) + "\\n")

def stop(number, frame):
    note("signals.txt", [options["name"], number])
    sys.exit(128 + number)

scores = options["model.score"].split(":")
score = scores[int(options.get("seed_everything", 0)) % len(scores)]
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
note("starts.txt", [options["name"], sys.argv[1:]])
if score == "bad":
    print("Building\\nerror: out of memory:\\n  - lower --data.batch_size")
    sys.exit(1)
if score == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
(run / "config.yaml").write_text(json.dumps({"model": {"score": options["model.score"]}}))
(run / "protocol.json").write_text(json.dumps({"validates_on_test": options.get("data.holdout") == "0"}))
(run / "checkpoints" / "best.ckpt").touch()
rows = json.loads(checkpoint.read_text()) if resumed else []
for epoch in range(len(rows), 3):
    while epoch == 1 and (Path("hold").exists() or options.get("stall")):
        time.sleep(0.01)
    value = float(score) * [0.5, 1.0, 0.9][epoch]
    rows.append(f"{epoch},{value},{10 + epoch}")
    beside = run / "beside"
    beside.write_text("epoch,val/top1,seconds\\n" + "\\n".join(rows) + "\\n")
    checkpoint.write_text(json.dumps(rows))
    os.replace(beside, run / "metrics.csv")
"""


def enter(folder: Path, monkeypatch) -> Path:
    """Make a folder the working directory, in which sweeps run TRAINING instead of training.py."""
    monkeypatch.chdir(folder)
    (folder / "train.py").write_text(TRAINING)
    monkeypatch.setattr(training, "training_command", lambda: [sys.executable, "-S", str(folder / "train.py")])
    monkeypatch.setattr(study, "POLL", 0.02)
    return folder


def write_sweep(**keys) -> str:
    Path("sizes.yaml").write_text(yaml.safe_dump({"config": "resnet18_aug.yaml", **keys}, sort_keys=False))
    return "sizes.yaml"


def sweep(*argv: str) -> int | str:
    """Run a sweep in this process, for a minute at most. Returns its exit status or error message."""
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(60)
    try:
        with pytest.raises(SystemExit) as leaving:
            main(list(argv))
    finally:
        signal.alarm(0)
    return leaving.value.code


def _give_up(number: int, frame: object) -> None:
    raise TimeoutError("The sweep did not end within a minute.")


def trials(name: str = "sizes") -> list[dict[str, str]]:
    return list(csv.DictReader(Path(f"runs/{name}/trials.csv").open()))


def lines(name: str) -> list:
    return [json.loads(line) for line in Path(name).read_text().splitlines()] if Path(name).exists() else []


def worker(*argv: str) -> multiprocessing.Process:
    """A sweep in its own process, forked because importing everything again takes seconds."""
    process = multiprocessing.get_context("fork").Process(target=main, args=(list(argv),))
    process.start()
    return process


def wait_until(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)


def kill_one_of_two(*argv: str) -> None:
    """Start a sweep in two processes, kill one while both train, and let the other finish."""
    Path("hold").touch()
    workers = [worker(*argv) for _ in range(2)]
    wait_until(lambda: len(list(Path("runs").glob("*/*/*/metrics.csv"))) == 2)
    workers[0].kill()
    wait_until(lambda: len(lines("signals.txt")) == 1)
    Path("hold").unlink()
    workers[1].join(60)
    assert workers[1].exitcode == 0
