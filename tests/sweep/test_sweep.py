"""Sweeps from start to end: which commands they run, with which options, and what they record and print."""

import csv
import signal
from pathlib import Path

import optuna
import pytest
import yaml

from tests.helpers.sweeping import enter, lines, sweep, trials, write_sweep
from tiny_imagenet.cli.arguments import find_config
from tiny_imagenet.cli.printed import module_command
from tiny_imagenet.run.folder import METRICS
from tiny_imagenet.run.protocol import write_protocol
from tiny_imagenet.sweep import storage, study
from tiny_imagenet.sweep.training import result


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
    assert best.read_text().startswith("# The best of 4 trials of the sweep sizes: val/top1 60.0 % in trial 2")
    assert find_config(str(best)) == best
    out = capfd.readouterr().out
    assert len([line for line in out.splitlines() if line.startswith("[")]) == 4, "one line per finished trial"
    assert "runs/sizes/trials.csv" in out and "runs/sizes/best.yaml" in out

    assert sweep(file) == 0
    assert len(lines("starts.txt")) == 4, "nothing was left to do"
    assert capfd.readouterr().out.startswith("sizes: 4 trials, 4 finished before. Logs: ")


def test_what_a_sweep_prints(folder, capfd):
    assert sweep(write_sweep(search={"model.score": [0.268, 0.1]})) == 0
    assert capfd.readouterr().out.splitlines() == [
        "sizes: 2 trials. Logs: runs/sizes/trial_*/log.txt",
        "trial 0 starts: model.score=0.268 | runs/sizes/trial_000/log.txt",
        "[1/2] trial 0: model.score=0.268 | val/top1 26.8 % (best 26.8 %, trial 0) | runs/sizes/trial_000/version_0",
        "trial 1 starts: model.score=0.1 | runs/sizes/trial_001/log.txt",
        "[2/2] trial 1: model.score=0.1 | val/top1 10.0 % (best 26.8 %, trial 0) | runs/sizes/trial_001/version_0",
        "sizes: 2 complete.",
        "  runs/sizes/trials.csv",
        "  runs/sizes/best.yaml",
        f"To compare the trials: {module_command('tiny_imagenet.report', 'runs/sizes')}",
    ]
    assert all(path.is_file() for path in Path().glob("runs/sizes/trial_*/log.txt"))


def test_a_metric_that_is_no_accuracy_is_not_printed_in_percent(folder, capfd):
    file = write_sweep(search={"model.score": [0.3]}, metric="seconds", direction="minimize")
    assert sweep(file) == 0
    assert "| seconds 10 (best 10, trial 0) |" in capfd.readouterr().out
    assert "seconds 10 in trial 0" in Path("runs/sizes/best.yaml").read_text()


def test_name_of_a_sweep_is_quoted_in_the_command_of_the_report(folder, capfd):
    assert sweep(write_sweep(search={"model.score": [0.3]}), "--name", "my sizes") == 0
    assert capfd.readouterr().out.endswith("python -m tiny_imagenet.report 'runs/my sizes'\n")


def test_command_line_overrides_the_file_but_not_the_search(folder):
    file = write_sweep(search={"model.score": [0.5]}, options={"data.batch_size": 64})
    assert sweep(file, "--config", "resnet34_aug.yaml", "--data.batch_size=8", "--model.score=0.1", "--name=other") == 0
    (name, argv), *rest = lines("starts.txt")
    assert not rest and name == "other/trial_000"
    assert [argument for argument in argv if "config" in argument] == ["--config=resnet34_aug.yaml"]
    assert [argument for argument in argv if "batch_size" in argument][-1] == "--data.batch_size=8"
    assert [argument for argument in argv if "score" in argument][-1] == "--model.score=0.5"


def test_ranges_are_sampled_within_their_bounds(folder):
    search = {"model.score": {"low": "1e-3", "high": 0.9, "log": True}, "data.batch_size": {"low": 8, "high": 64}}
    file = write_sweep(search=search, trials=4)
    assert sweep(file) == 0
    rows = trials()
    scores, sizes = [float(row["model.score"]) for row in rows], [int(row["data.batch_size"]) for row in rows]
    assert len(set(scores)) == 4 and all(1e-3 <= score <= 0.9 for score in scores)
    assert all(8 <= size <= 64 for size in sizes)
    assert [float(row["value"]) for row in rows] == pytest.approx(scores)

    assert sweep(write_sweep(search=search, trials=6)) == 0
    assert len(trials()) == len(lines("starts.txt")) == 6, "`trials` may be raised later"


def test_failed_trial_is_recorded_with_its_reason_and_the_sweep_continues(folder, capfd):
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
    assert [name for name, _ in lines("starts.txt")[3:]] == ["sizes/trial_003", "sizes/trial_004"]


def test_sweep_in_which_no_trial_succeeds(folder, capfd):
    assert "No trial succeeded" in sweep(write_sweep(search={"model.score": ["bad"]}))
    assert not Path("runs/sizes/best.yaml").exists()
    out = capfd.readouterr().out
    assert "sizes: 1 failed. To run failed trials again, add --retry_failed." in out and "report" not in out


def test_metric_that_is_missing_or_nan(folder):
    assert "No trial succeeded" in sweep(write_sweep(search={"model.score": ["nan"]}))
    assert trials()[0]["reason"] == "runs/sizes/trial_000/version_0/metrics.csv has no number for val/top1"


def test_pruned_trial_is_stopped(folder):
    pruner = {"class_path": "optuna.pruners.ThresholdPruner", "init_args": {"lower": 0.2}}
    file = write_sweep(search={"model.score": [0.1]}, pruner=pruner, options={"stall": "yes"})
    assert "No trial succeeded" in sweep(file)
    assert trials()[0]["state"] == "PRUNED" and float(trials()[0]["value"]) == pytest.approx(0.05)
    assert lines("signals.txt") == [["sizes/trial_000", signal.SIGTERM]]


def test_each_trial_is_tested_if_the_sweep_asks_for_it(folder):
    assert sweep(write_sweep(search={"model.score": [0.3, "bad", 0.6]}, test=True)) == 0
    tested = [f"runs/sizes/trial_00{number}/version_0/checkpoints/best.ckpt" for number in (0, 2)]
    assert Path("tests.txt").read_text().splitlines() == tested, "once each, without the failed trial"
    assert (Path(tested[0]).parent.parent / "test_metrics.json").exists()

    (line,) = {tuple(arguments[3:]) for arguments in lines("test_arguments.txt")}
    assert line == ()
    assert sweep(write_sweep(search={"model.score": [0.3]}, test=True), "--name=gpu", "--trainer.devices", "1") == 0
    assert lines("test_arguments.txt")[-1][-1] == "--trainer.devices=1"

    Path("untestable").touch()
    assert "No trial succeeded" in sweep(write_sweep(search={"model.score": [0.3]}, test=True), "--name=other")
    (row,) = trials("other")
    assert (row["state"], row["reason"]) == ("FAIL", "nothing to test")


def test_the_last_epoch_counts_if_validation_uses_the_test_images(folder):
    assert sweep(write_sweep(search={"model.score": [0.5]}, options={"data.holdout": 0}, test=True)) == 0
    assert float(trials()[0]["value"]) == pytest.approx(0.9 * 0.5)
    assert Path("tests.txt").read_text().splitlines() == ["runs/sizes/trial_000/version_0/checkpoints/last.ckpt"]


def test_minimize(folder):
    assert sweep(write_sweep(search={"model.score": [0.4, 0.2]}, direction="minimize")) == 0
    assert [float(row["value"]) for row in trials()] == pytest.approx([0.2, 0.1])
    assert yaml.safe_load(Path("runs/sizes/best.yaml").read_text()) == {"model": {"score": "0.2"}}


def test_old_runs_in_the_folder_are_not_mistaken_for_the_trial(folder):
    """The study was deleted, but not its runs."""
    file = write_sweep(search={"model.score": [0.4]})
    assert sweep(file) == 0
    Path("runs/sizes/study.db").unlink()
    assert sweep(write_sweep(search={"model.score": [0.2]})) == 0
    assert (trials()[0]["run"], trials()[0]["value"]) == ("runs/sizes/trial_000/version_1", "0.2")


def test_changed_search_is_refused_and_changed_options_are_reported(folder, capfd):
    sweep(write_sweep(search={"model.score": [0.4]}))
    status = sweep(write_sweep(search={"model.score": [0.4, 0.5]}))
    assert "search changed" in status and "--name" in status and "0.5" in status
    assert sweep(write_sweep(search={"model.score": [0.4]}), "--trainer.max_epochs=2") == 0
    assert "Note: options changed. Trials so far: []. New trials: ['--trainer.max_epochs=2']." in capfd.readouterr().out


def test_refusal_of_a_changed_search_hides_the_storage_s_password(folder, monkeypatch):
    url = "postgresql://user:secret@host/db"
    monkeypatch.setattr(study, "open_storage", lambda _: storage.open_storage("sqlite:///study.db"))
    assert sweep(write_sweep(search={"model.score": [0.4]}, storage=url)) == 0
    status = sweep(write_sweep(search={"model.score": [0.5]}, storage=url))
    assert "search changed" in status and "postgresql://user:***@host/db" in status and "secret" not in status
    assert not any("secret" in path.read_text() for path in Path("runs").rglob("*.*") if path.is_file())


def test_storage_that_is_lost_is_named_without_its_password(folder, monkeypatch):
    def lose(self, stop):
        raise optuna.exceptions.StorageInternalError("An exception is raised.") from OSError("the server is gone")

    monkeypatch.setattr(study, "open_storage", lambda _: storage.open_storage("sqlite:///study.db"))
    monkeypatch.setattr(study.SharedStudy, "claim", lose)
    status = sweep(write_sweep(search={"model.score": [0.4]}, storage="postgresql://user:secret@host/db"))
    assert status == "error: storage: postgresql://user:***@host/db cannot be used: the server is gone"


@pytest.mark.slow
def test_real_trainings(small, run, tmp_path):
    (tmp_path / "rates.yaml").write_text(
        "config: resnet18_baseline.yaml\nsearch: {model.optimizer.init_args.lr: [0.000001, 0.05]}\nmetric: train/loss\n"
        "direction: minimize\n"
    )
    command = [*small, "--trainer.max_epochs=1"]
    assert run("fit", "--help")[0] == 0  # enters the working directory of `run`
    assert sweep("rates.yaml", *command) == 0
    rows = list(csv.DictReader(Path("runs/rates/trials.csv").open()))
    assert [row["state"] for row in rows] == ["COMPLETE"] * 2
    best = min(rows, key=lambda row: float(row["value"]))
    found = yaml.safe_load(Path("runs/rates/best.yaml").read_text())
    assert found["model"]["optimizer"]["init_args"]["lr"] == float(best["model.optimizer.init_args.lr"])
    status, _ = run("fit", "--config", "runs/rates/best.yaml")
    assert status == 0 and Path("runs/best/version_0/metrics.csv").exists()


def test_the_result_of_progressive_training_is_of_its_last_image_size(tmp_path):
    (tmp_path / METRICS).write_text(
        "epoch,step,val/top1,image_size\n0,9,0.6,32.0\n1,18,0.4,64.0\n2,27,0.5,64.0\n3,36,nan,64.0\n"
    )
    assert result(tmp_path, "val/top1", "max") == 0.5
    assert result(tmp_path, "val/top1", "min") == 0.4
    assert result(tmp_path, "val/top5", "max") is None
    write_protocol(tmp_path, 10, 10, validates_on_test=True)
    assert result(tmp_path, "val/top1", "min") == 0.5, "of the last epoch"
