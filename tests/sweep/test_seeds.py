"""Sweeps that train each point with several seeds. A score such as 0.3:0.6 is that of seed 0 and that of seed 1."""

import os
import signal
from pathlib import Path

import optuna
import pytest
import yaml

from tests.helpers.sweeping import enter, kill_one_of_two, lines, sweep, trials, wait_until, worker, write_sweep
from tiny_imagenet.sweep.definition import read_sweep

LUCKY, STEADY = "0.9:0.1:0.5", "0.6:0.7:0.6"  # the means of three seeds: 0.5 and 0.6333


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    return enter(tmp_path, monkeypatch)


def trained(name: str = "sizes") -> list[tuple[str, ...]]:
    """The score, the seed, the state and the value of each trial."""
    columns = ("model.score", "seed_everything", "state", "value")
    return [tuple(row[column] for column in columns) for row in trials(name)]


def test_the_best_point_has_the_best_mean_over_its_seeds(folder, capfd):
    file = write_sweep(search={"model.score": [LUCKY, STEADY]}, seeds=[0, 1, 2])
    assert sweep(file) == 0
    assert trained() == [
        (LUCKY, "0", "COMPLETE", "0.9"), (LUCKY, "1", "COMPLETE", "0.1"), (LUCKY, "2", "COMPLETE", "0.5"),
        (STEADY, "0", "COMPLETE", "0.6"), (STEADY, "1", "COMPLETE", "0.7"), (STEADY, "2", "COMPLETE", "0.6"),
    ]  # fmt: skip
    assert [argv[-2:] for _, argv in lines("starts.txt")][1] == ["--seed_everything=1", "--name=sizes/trial_001"]
    # The deviations are 1/30, 2/30 and 1/30: a variance of 6/900 / 2 of the sample, and 1/900 of its mean.
    best = Path("runs/sizes/best.yaml").read_text()
    assert best.startswith("# The best of 6 trials of the sweep sizes: val/top1 63.3 ± 3.3 % in trials 3 4 5 (model.s")
    assert yaml.safe_load(best) == {"model": {"score": STEADY}}
    out = capfd.readouterr().out.splitlines()
    assert out[0] == "sizes: 6 trials, 3 seeds for each point. Logs: runs/sizes/trial_*/log.txt"
    # 0.9 and 0.1: a mean of 0.5, and an error of 0.4.
    assert f"[1/6] trial 0: model.score={LUCKY}, seed_everything=0 | val/top1 90.0 % (best 90.0 %, trial 0)" in out[2]
    assert "| val/top1 10.0 % (best 50.0 ± 40.0 %, trials 0 1) | runs/sizes/trial_001/version_0" in out[4]
    assert "(best 63.3 ± 3.3 %, trials 3 4 5)" in out[12]


def test_a_count_begins_at_the_default_seed(folder):
    file = write_sweep(search={"model.score": [0.3]}, seeds=2)
    assert sweep(file) == 0
    assert [row["seed_everything"] for row in trials()] == ["42", "43"]
    assert sweep(write_sweep(search={"model.score": [0.3]}, seeds=3)) == 0, "the number may be raised later"
    assert [row["seed_everything"] for row in trials()] == ["42", "43", "44"]
    assert len(lines("starts.txt")) == 3


def test_seeds_given_later_or_taken_away(folder, capfd):
    search = {"model.score": [LUCKY, STEADY]}
    assert sweep(write_sweep(search=search)) == 0
    assert "seed_everything" not in trials()[0]
    assert "in trial 0 (model.score" in Path("runs/sizes/best.yaml").read_text()
    assert sweep(write_sweep(search=search, seeds=[1, 2])) == 0
    assert "Note: seeds changed. Trials so far: []. New trials: [1, 2]." in capfd.readouterr().out
    assert [row["seed_everything"] for row in trials()] == ["", "", "1", "2", "1", "2"]
    assert "65.0 ± 5.0 % in trials 4 5" in Path("runs/sizes/best.yaml").read_text(), "of seeds 1 and 2: 0.7 and 0.6"
    assert sweep(write_sweep(search=search, seeds=[2])) == 0
    assert "sizes: 6 trials, 6 finished before. Logs" in capfd.readouterr().out
    assert sweep(write_sweep(search=search)) == 0
    assert len(lines("starts.txt")) == 6
    assert "90.0 % in trial 0 " in Path("runs/sizes/best.yaml").read_text()


def test_a_trial_that_waits_with_a_seed_that_was_removed_does_not_run(folder):
    file = write_sweep(search={"model.score": [0.3]}, seeds=[0, 1])
    Path("hold").touch()
    process = worker(file)
    wait_until(Path("runs/sizes/trial_000/version_0/metrics.csv").exists)
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    Path("hold").unlink()
    assert sweep(write_sweep(search={"model.score": [0.3]}, seeds=[1, 2])) == 0
    assert [(row["seed_everything"], row["state"]) for row in trials()] == [("1", "COMPLETE"), ("2", "COMPLETE")]


def test_a_point_with_a_failed_seed_is_chosen_only_if_every_point_has_one(folder):
    file = write_sweep(search={"model.score": ["0.9:bad", "0.2:0.4", "0.8:bad"]}, seeds=[0, 1])
    assert sweep(file) == 0
    assert [row["state"] for row in trials()] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE", "COMPLETE", "FAIL"]
    assert "30.0 ± 10.0 % in trials 2 3" in Path("runs/sizes/best.yaml").read_text()
    assert sweep(file, "--retry_failed") == 0
    assert [argv[-2] for _, argv in lines("starts.txt")[6:]] == ["--seed_everything=1"] * 2, "only what failed"
    assert sweep(write_sweep(search={"model.score": ["0.9:bad", "0.8:bad"]}, seeds=[0, 1]), "--name=other") == 0
    assert "90.0 % in trial 0 " in Path("runs/other/best.yaml").read_text()


def test_a_retried_seed_completes_its_point(folder):
    file = write_sweep(search={"model.score": ["0.9:bad", "0.2:0.4"]}, seeds=[0, 1])
    assert sweep(file) == 0
    script = Path("train.py")
    script.write_text(script.read_text().replace('if score == "bad":', 'score = score.replace("bad", "0.7")\nif 0:'))
    assert sweep(file, "--retry_failed") == 0
    assert "80.0 ± 10.0 % in trials 0 4" in Path("runs/sizes/best.yaml").read_text()


def test_the_other_seeds_of_a_pruned_point_are_left_out(folder):
    pruner = {"class_path": "optuna.pruners.ThresholdPruner", "init_args": {"lower": 0.2}}
    bad, good = "0.1:0.9:0.9", "0.5:0.6:0.1"
    file = write_sweep(search={"model.score": [bad, good]}, seeds=[0, 1, 2], pruner=pruner)
    # The first epoch has half the score. Those that are to be pruned in it wait for that.
    script = Path("train.py")
    script.write_text(script.read_text().replace('options.get("stall")', "float(score) < 0.4"))
    assert sweep(file) == 0
    assert trained() == [
        (bad, "0", "PRUNED", "0.05"), (bad, "1", "PRUNED", ""), (bad, "2", "PRUNED", ""),
        (good, "0", "COMPLETE", "0.5"), (good, "1", "COMPLETE", "0.6"), (good, "2", "PRUNED", "0.05"),
    ]  # fmt: skip
    assert [name for name, _ in lines("starts.txt")] == [f"sizes/trial_00{number}" for number in (0, 3, 4, 5)]
    assert [row["reason"] for row in trials()] == ["", *["pruned with another seed"] * 2, "", "", ""]
    assert sweep(file) == 0
    assert len(lines("starts.txt")) == 4, "nothing was left to do"


def test_points_of_ranges_are_tried_with_each_seed(folder, capfd):
    search = {"model.score": {"low": 0.1, "high": 0.9}}
    assert sweep(write_sweep(search=search, seeds=[0, 1], trials=3)) == 0
    assert capfd.readouterr().out.startswith("sizes: 6 trials, 2 seeds for each point. Logs: ")
    rows = trials()
    assert [row["seed_everything"] for row in rows] == ["0", "1"] * 3
    scores = [row["model.score"] for row in rows]
    assert scores[::2] == scores[1::2] and len(set(scores)) == 3
    assert sweep(write_sweep(search=search, seeds=[0, 1, 2], trials=4)) == 0
    rows = trials()
    assert len(rows) == len(lines("starts.txt")) == 4 * 3
    assert sorted((row["model.score"], row["seed_everything"]) for row in rows) == sorted(
        (score, seed) for score in {row["model.score"] for row in rows} for seed in "012"
    )


@pytest.mark.parametrize("url", ["sqlite:///shared/study.db", "journal://shared/study.log"])
def test_seeds_are_shared_and_resumed_like_points(folder, url):
    search = {"model.score": {"low": 0.1, "high": 0.9}}
    file = write_sweep(search=search, seeds=[0, 1, 2], trials=2)
    kill_one_of_two(file, "--storage", url)
    rows = trials()
    assert [row["state"] for row in rows] == ["COMPLETE"] * 6
    assert [row["number"] for row in rows] == list("012345")
    assert len({(row["model.score"], row["seed_everything"]) for row in rows}) == 6
    assert len(lines("starts.txt")) == 7


def test_two_machines_that_start_at_the_same_moment(folder):
    """Both enqueued each point with each seed."""
    file = write_sweep(search={"model.score": [0.1, 0.2]}, seeds=[5, 6])
    begun = optuna.create_study(storage="sqlite:///study.db", study_name="sizes", direction="maximize")
    for score in ("0.1", "0.2") * 2:
        for seed in (5, 6):
            begun.enqueue_trial({"model.score": score}, user_attrs={"seed_everything": seed})
    assert sweep(file, "--storage", "sqlite:///study.db") == 0
    assert [each[:3] for each in trained()] == [(score, seed, "COMPLETE") for score in ("0.1", "0.2") for seed in "56"]
    assert len(lines("starts.txt")) == 4


@pytest.mark.parametrize("seeds", [0, -1, True, False, 1.5, "3", [], [1, 1], [1, "2"], [1, None], [-1], [2**32], 10**9])
def test_seeds_that_are_none(folder, seeds):
    status = str(sweep(write_sweep(search={"model.score": [0.5]}, seeds=seeds)))
    assert status.startswith("error: sizes.yaml: seeds: must be a number of seeds, at most 1000, or a list of differ")
    assert not Path("runs").exists()


@pytest.mark.parametrize("keys, options", [
    ({"search": {"seed_everything": [1, 2]}}, []),
    ({"search": {"model.score": [0.5]}, "options": {"seed_everything": 1}}, []),
    ({"search": {"model.score": [0.5]}}, ["--seed_everything", "1"]),
])  # fmt: skip
def test_two_sources_of_the_seed(folder, keys, options):
    status = sweep(write_sweep(seeds=3, **keys), *options)
    assert status == "error: sizes.yaml: seeds: sets seed_everything; remove that from the search and the options."


def test_the_seed_reaches_the_training(folder, parsed):
    file = Path("sizes.yaml").resolve()
    write_sweep(search={"model.width": [0.5]}, seeds=[7])
    one = read_sweep([str(file)])
    assert parsed(*one.arguments(one.points()[0], one.seeds[0])).config["fit"]["seed_everything"] == 7
