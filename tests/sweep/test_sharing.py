"""Sweeps that are killed, stopped, resumed, and shared by several workers."""

import csv
import os
import signal
import time
from pathlib import Path

import optuna
import pytest

from tests.helpers.sweeping import enter, kill_one_of_two, lines, sweep, trials, wait_until, worker, write_sweep
from tiny_imagenet.sweep import storage, study


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    return enter(tmp_path, monkeypatch)


@pytest.mark.parametrize("url", [None, "journal://runs/sizes/study.log"])
def test_killed_within_a_trial_and_resumed(folder, capfd, url):
    file = write_sweep(search={"model.score": [0.1, 0.2, 0.3]}, storage=url)
    Path("hold").touch()
    first = worker(file)
    metrics = Path("runs/sizes/trial_000/version_0/metrics.csv")
    wait_until(metrics.exists)
    os.kill(first.pid, signal.SIGKILL)
    first.join(60)
    wait_until(lambda: lines("signals.txt") == [["sizes/trial_000", signal.SIGTERM]])  # the training ends too
    Path("hold").unlink()
    assert sweep(file) == 0
    assert "trial 0 resumes: model.score=0.1 | runs/sizes/trial_000/log.txt\n" in capfd.readouterr().out
    assert [(row["number"], row["state"], row["value"]) for row in trials()] == [
        ("0", "COMPLETE", "0.1"), ("1", "COMPLETE", "0.2"), ("2", "COMPLETE", "0.3"),
    ]  # fmt: skip
    starts = lines("starts.txt")
    assert sorted(name for name, _ in starts) == [f"sizes/trial_00{n}" for n in (0, 0, 1, 2)]
    assert [argv[-1] for name, argv in starts if name == "sizes/trial_000"] == [
        "--name=sizes/trial_000",
        "--ckpt_path=last",
    ]
    assert [row["epoch"] for row in csv.DictReader(metrics.open())] == ["0", "1", "2"]


def test_killed_while_another_worker_runs(folder):
    """The other worker takes the trial over, though its own trial is the last one."""
    file = write_sweep(search={"model.score": [0.1, 0.2]})
    kill_one_of_two(file)
    assert [row["state"] for row in trials()] == ["COMPLETE"] * 2
    assert len(lines("starts.txt")) == 3


@pytest.mark.parametrize("url", ["sqlite:///runs/sizes/study.db", "journal://runs/sizes/study.log"])
def test_two_workers_share_the_trials(folder, url):
    file = write_sweep(search={"model.score": [0.1, 0.2, 0.3, 0.4]}, storage=url)
    Path("hold").touch()
    workers = [worker(file), worker(file)]
    wait_until(lambda: len(lines("starts.txt")) == 2)
    time.sleep(0.3)  # enough time for a worker to take the trial of the other
    assert sorted(name for name, _ in lines("starts.txt")) == ["sizes/trial_000", "sizes/trial_001"]
    Path("hold").unlink()
    for process in workers:
        process.join(60)
    assert [process.exitcode for process in workers] == [0, 0]
    assert sorted(name for name, _ in lines("starts.txt")) == [f"sizes/trial_00{n}" for n in range(4)]
    assert [row["state"] for row in trials()] == ["COMPLETE"] * 4
    assert Path(url.partition("://")[2].lstrip("/")).is_file(), "below the working directory"


@pytest.mark.parametrize("url", ["sqlite:///runs/sizes/study.db", "journal://runs/sizes/study.log"])
def test_worker_lost_on_another_machine(folder, monkeypatch, url):
    """Only its heartbeat, which stops, shows that it died."""
    file = write_sweep(search={"model.score": [0.1]}, storage=url)
    Path("hold").touch()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(study.socket, "gethostname", lambda: "elsewhere")
        lost = worker(file)
    wait_until(Path("runs/sizes/trial_000/version_0/metrics.csv").exists)
    lost.kill()
    Path("hold").unlink()
    monkeypatch.setattr(storage, "GRACE", 1)
    monkeypatch.setattr(study, "GRACE", 1)
    assert sweep(file) == 0
    assert [(row["number"], row["state"], row["run"]) for row in trials()] == [
        ("1", "COMPLETE", "runs/sizes/trial_001/version_0")
    ]


def test_a_worker_on_another_machine_that_lives_keeps_its_trial(folder, monkeypatch):
    file = write_sweep(search={"model.score": [0.1]}, storage="journal://runs/sizes/study.log")
    monkeypatch.setattr(study, "HEARTBEAT", 0.2)
    monkeypatch.setattr(study, "GRACE", 1)
    Path("hold").touch()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(study.socket, "gethostname", lambda: "elsewhere")
        alive = worker(file)
    wait_until(Path("runs/sizes/trial_000/version_0/metrics.csv").exists)
    waiting = worker(file)
    time.sleep(2.5)  # more than twice GRACE
    Path("hold").unlink()
    for process in (alive, waiting):
        process.join(60)
    assert [(row["number"], row["state"]) for row in trials()] == [("0", "COMPLETE")]
    assert len(lines("starts.txt")) == 1


def test_two_machines_that_start_at_the_same_moment(folder):
    """Both enqueued the whole grid."""
    file = write_sweep(search={"model.score": [0.1, 0.2]}, storage="sqlite:///runs/sizes/study.db")
    Path("runs/sizes").mkdir(parents=True)
    begun = optuna.create_study(storage="sqlite:///runs/sizes/study.db", study_name="sizes", direction="maximize")
    for score in ("0.1", "0.2", "0.1", "0.2"):
        begun.enqueue_trial({"model.score": score})
    assert sweep(file) == 0
    assert [(row["model.score"], row["state"]) for row in trials()] == [("0.1", "COMPLETE"), ("0.2", "COMPLETE")]
    assert len(lines("starts.txt")) == 2


@pytest.mark.parametrize("number, passed_on", [(signal.SIGINT, signal.SIGINT), (signal.SIGHUP, signal.SIGTERM)])
def test_signals_reach_the_training_once(folder, number, passed_on):
    file = write_sweep(search={"model.score": [0.1]})
    Path("hold").touch()
    process = worker(file)
    wait_until(Path("runs/sizes/trial_000/version_0/metrics.csv").exists)
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 128 + number
    assert lines("signals.txt") == [["sizes/trial_000", passed_on]]
    assert [row["state"] for row in trials()] == ["WAITING"]
    Path("hold").unlink()
    assert sweep(file) == 0
    assert [row["state"] for row in trials()] == ["COMPLETE"]
