"""Sweeps from start to end: what is run, with which options, and what is recorded."""

import csv
import signal
from pathlib import Path

import pytest
import yaml

from tests.helpers.sweeping import enter, lines, sweep, trials, write_sweep
from tiny_imagenet.cli.arguments import find_config


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    return enter(tmp_path, monkeypatch)


def test_grid_runs_every_combination_once_and_in_order(folder, capfd):
    file = write_sweep(search={"model.score": [0.3, 0.6], "data.batch_size": [64, 256]}, options={"model.stem": "half"})
    assert sweep(file) == 0
    rows = trials()
    assert [(row["model.score"], row["data.batch_size"]) for row in rows] == [
        ("0.3", "64"), ("0.3", "256"), ("0.6", "64"), ("0.6", "256"),
    ]  # fmt: skip
    assert [row["number"] for row in rows] == ["0", "1", "2", "3"]
    assert {row["state"] for row in rows} == {"COMPLETE"}
    assert [float(row["value"]) for row in rows] == [0.3, 0.3, 0.6, 0.6], "the best epoch, not the last"
    assert rows[2]["run"] == "runs/sizes/trial_002/version_0"
    assert float(rows[2]["seconds"]) == 10 + 11 + 12
    first = lines("starts.txt")[0]
    assert first == ["sizes/trial_000", ["fit", "--config=resnet18_aug.yaml", "--model.stem=half", "--model.score=0.3",
                                         "--data.batch_size=64", "--name=sizes/trial_000"]]  # fmt: skip
    best = Path("runs/sizes/best.yaml")
    assert yaml.safe_load(best.read_text()) == {"model": {"score": "0.6"}}
    assert best.read_text().startswith("# The best of 4 trials of the sweep sizes: val/top1 0.6 in trial 2")
    assert find_config(str(best)) == best
    out = capfd.readouterr().out
    assert len([line for line in out.splitlines() if line.startswith("[")]) == 4, "one line a trial"
    assert "runs/sizes/trials.csv" in out and "runs/sizes/best.yaml" in out

    assert sweep(file) == 0
    assert len(lines("starts.txt")) == 4, "there is nothing left to do"


def test_command_line_overrides_the_file_but_not_what_is_searched(folder):
    file = write_sweep(search={"model.score": [0.5]}, options={"data.batch_size": 64})
    assert sweep(file, "--config", "resnet34_aug.yaml", "--data.batch_size=8", "--model.score=0.1", "--name=other") == 0
    (name, argv), *rest = lines("starts.txt")
    assert not rest and name == "other/trial_000"
    assert [argument for argument in argv if "config" in argument] == ["--config=resnet34_aug.yaml"]
    assert [argument for argument in argv if "batch_size" in argument][-1] == "--data.batch_size=8"
    assert [argument for argument in argv if "score" in argument][-1] == "--model.score=0.5"


def test_range_is_sampled_within_its_bounds(folder):
    search = {"model.score": {"low": "1e-3", "high": 0.9, "log": True}, "data.batch_size": {"low": 8, "high": 64}}
    file = write_sweep(search=search, trials=4)
    assert sweep(file) == 0
    rows = trials()
    scores, sizes = [float(row["model.score"]) for row in rows], [int(row["data.batch_size"]) for row in rows]
    assert len(set(scores)) == 4 and all(1e-3 <= score <= 0.9 for score in scores)
    assert all(8 <= size <= 64 for size in sizes)
    assert [float(row["value"]) for row in rows] == pytest.approx(scores)

    assert sweep(write_sweep(search=search, trials=6)) == 0
    assert len(trials()) == len(lines("starts.txt")) == 6, "more trials may be asked for later"


def test_failed_trial_is_recorded_with_its_reason_and_others_go_on(folder, capfd):
    file = write_sweep(search={"model.score": ["bad", "killed", 0.4]})
    assert sweep(file) == 0
    rows = trials()
    assert [row["state"] for row in rows] == ["FAIL", "FAIL", "COMPLETE"]
    assert rows[0]["reason"] == "out of memory: - lower --data.batch_size"
    assert rows[1]["reason"] == "killed by SIGKILL"
    assert "out of memory" in capfd.readouterr().out
    assert "error: out of memory" in Path("runs/sizes/trial_000/log.txt").read_text()
    assert sweep(file) == 0
    assert len(lines("starts.txt")) == 3, "a failed trial is not run again"
    assert sweep(file, "--retry_failed") == 0
    assert [name for name, _ in lines("starts.txt")[3:]] == ["sizes/trial_003", "sizes/trial_004"], "unless asked to"


def test_without_any_success(folder):
    assert "No trial succeeded" in sweep(write_sweep(search={"model.score": ["bad"]}))
    assert not Path("runs/sizes/best.yaml").exists()


def test_metric_that_is_not_there_or_nan(folder):
    assert "No trial succeeded" in sweep(write_sweep(search={"model.score": ["nan"]}))
    assert trials()[0]["reason"] == "runs/sizes/trial_000/version_0/metrics.csv has no number for val/top1"


def test_pruned_trial_is_stopped(folder):
    pruner = {"class_path": "optuna.pruners.ThresholdPruner", "init_args": {"lower": 0.2}}
    file = write_sweep(search={"model.score": [0.1]}, pruner=pruner, options={"stall": "yes"})
    assert "No trial succeeded" in sweep(file)
    assert trials()[0]["state"] == "PRUNED" and float(trials()[0]["value"]) == pytest.approx(0.05)
    assert lines("signals.txt") == [["sizes/trial_000", signal.SIGTERM]]


def test_each_trial_is_tested_where_the_sweep_says_so(folder):
    assert sweep(write_sweep(search={"model.score": [0.3, "bad", 0.6]}, test=True)) == 0
    tested = [f"runs/sizes/trial_00{number}/version_0/checkpoints/best.ckpt" for number in (0, 2)]
    assert Path("tests.txt").read_text().splitlines() == tested, "once each, and not what failed to train"
    assert (Path(tested[0]).parent.parent / "test_metrics.json").exists()

    (line,) = {tuple(arguments[3:]) for arguments in lines("test_arguments.txt")}
    assert line == ()
    assert sweep(write_sweep(search={"model.score": [0.3]}, test=True), "--name=gpu", "--trainer.devices", "1") == 0
    assert lines("test_arguments.txt")[-1][-1] == "--trainer.devices=1"

    Path("untestable").touch()
    assert "No trial succeeded" in sweep(write_sweep(search={"model.score": [0.3]}, test=True), "--name=other")
    (row,) = trials("other")
    assert (row["state"], row["reason"]) == ("FAIL", "nothing to test")


def test_the_last_epoch_counts_where_the_test_images_would_choose_the_best(folder):
    assert sweep(write_sweep(search={"model.score": [0.5]}, options={"data.holdout": 0}, test=True)) == 0
    assert float(trials()[0]["value"]) == pytest.approx(0.9 * 0.5)
    assert Path("tests.txt").read_text().splitlines() == ["runs/sizes/trial_000/version_0/checkpoints/last.ckpt"]


def test_minimize(folder):
    assert sweep(write_sweep(search={"model.score": [0.4, 0.2]}, direction="minimize")) == 0
    assert [float(row["value"]) for row in trials()] == pytest.approx([0.2, 0.1])
    assert yaml.safe_load(Path("runs/sizes/best.yaml").read_text()) == {"model": {"score": "0.2"}}


def test_old_runs_in_the_folder_are_not_taken_for_the_trial(folder):
    """Someone has deleted the study, but not its runs."""
    file = write_sweep(search={"model.score": [0.4]})
    assert sweep(file) == 0
    Path("runs/sizes/study.db").unlink()
    assert sweep(write_sweep(search={"model.score": [0.2]})) == 0
    assert (trials()[0]["run"], trials()[0]["value"]) == ("runs/sizes/trial_000/version_1", "0.2")


def test_changed_search_is_refused_and_changed_options_are_told(folder, capfd):
    sweep(write_sweep(search={"model.score": [0.4]}))
    status = sweep(write_sweep(search={"model.score": [0.4, 0.5]}))
    assert "another search" in status and "--name" in status and "0.5" in status
    assert sweep(write_sweep(search={"model.score": [0.4]}), "--trainer.max_epochs=2") == 0
    assert "those from now on have ['--trainer.max_epochs=2']" in capfd.readouterr().out


@pytest.mark.slow
def test_real_trainings(small, run, tmp_path):
    (tmp_path / "rates.yaml").write_text(
        "config: resnet18_baseline.yaml\nsearch: {model.optimizer.init_args.lr: [0.000001, 0.05]}\nmetric: train/loss\n"
        "direction: minimize\n"
    )
    command = [*small, "--trainer.max_epochs=1"]
    assert run("fit", "--help")[0] == 0  # in the working directory of `run`
    assert sweep("rates.yaml", *command) == 0
    rows = list(csv.DictReader(Path("runs/rates/trials.csv").open()))
    assert [row["state"] for row in rows] == ["COMPLETE"] * 2
    best = min(rows, key=lambda row: float(row["value"]))
    found = yaml.safe_load(Path("runs/rates/best.yaml").read_text())
    assert found["model"]["optimizer"]["init_args"]["lr"] == float(best["model.optimizer.init_args.lr"])
    status, _ = run("fit", "--config", "runs/rates/best.yaml")
    assert status == 0 and Path("runs/best/version_0/metrics.csv").exists()
