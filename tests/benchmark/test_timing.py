"""Races: how fast each contestant is, in turns, and how much CPU time it takes."""

import math
import time
from contextlib import contextmanager

import pytest

from tiny_imagenet.benchmark import stages, timing
from tiny_imagenet.benchmark.table import table
from tiny_imagenet.benchmark.timing import Contestant, race, ratio


def test_a_race_measures_how_many_times_as_fast():
    def sleeping(seconds: float) -> Contestant:
        return Contestant(lambda: time.sleep(seconds) or 10)

    rates = race({"slow": sleeping(0.1), "fast": sleeping(0.02)}, rounds=3, seconds=0.1)
    assert [len(each["images_per_s"]) for each in rates.values()] == [3, 3]
    assert max(rates["slow"]["images_per_s"]) <= 100, "10 images in 0.1 s"
    assert 2 < ratio(rates, "fast", "slow") < 6


def test_a_contestant_that_fails_leaves_the_race(capsys):
    def failing() -> int:
        raise RuntimeError("no compiler")

    rates = race({"fails": Contestant(failing), "works": Contestant(lambda: 1)}, rounds=2, seconds=0.0)
    assert list(rates) == ["works"] and len(rates["works"]["images_per_s"]) == 2
    assert capsys.readouterr().err == "fails failed: RuntimeError: no compiler\n"


def test_what_was_compared_with_a_contestant_that_left_has_no_ratio():
    rates = {"kept": {"images_per_s": [2.0], "images_per_cpu_s": [2.0]}}
    assert math.isnan(ratio(rates, "kept", "gone")) and math.isnan(ratio(rates, "gone", "kept"))
    results = {
        "images": {"parts": {}, "a recipe": {f"kept, {stages.BUSY}": rates["kept"], "other": rates["kept"]}},
        "training": {"by hand": {"images_per_s": 2.0, "images_per_cpu_s": 2.0, "ratio": math.nan}},
        "choices": {"kept": rates["kept"]},
        "saving": {"waiting": [1.0], "total": [2.0]},
        "start": {},
        "memory": {},
    }
    comparisons = table(results)["comparison"].tolist()
    assert comparisons == ["", "", "", "2.00 s until it is on the disk", ""]


def test_prepared_pieces_are_not_timed():
    calls = []
    race({"a": Contestant(lambda: calls.append(time.perf_counter()) or 1, untimed=5)}, rounds=2, seconds=0.0)
    assert len(calls) == 10, "a turn of 0 s has only untimed pieces"

    def step() -> int:
        calls.append(time.sleep(0.1 if len(calls) < 2 else 0.01))
        return 10

    calls.clear()
    rates = race({"a": Contestant(step, untimed=2)}, rounds=1, seconds=0.1)
    assert 400 < rates["a"]["images_per_s"][0] <= 1000, "10 images in 0.01 s"


def test_no_contestant_is_timed_while_the_workers_of_another_prepare_batches():
    ends, starts = [], []
    with_workers = Contestant(lambda: time.sleep(0.02) or ends.append(time.perf_counter()) or 1, ahead=10)
    alone = Contestant(lambda: starts.append(time.perf_counter()) or 1)
    race({"a": with_workers, "b": alone}, rounds=1, seconds=0.05)
    assert starts[0] - ends[-1] > 0.15, "ten pieces of 0.02 s each"


def test_a_long_race_says_how_far_it_is(monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr("tiny_imagenet.progress.SECONDS_BETWEEN_LINES", 0.0)
    race({"a": Contestant(lambda: 1), "b": Contestant(lambda: 1)}, rounds=2, seconds=0.0, task="recipe")
    assert [record.message for record in caplog.records][-1] == "recipe: 4 of 4 turns"


def test_images_per_cpu_second_do_not_depend_on_waiting():
    def computing(waiting: float) -> Contestant:
        def step() -> int:
            end = time.process_time() + 0.02
            while time.process_time() < end:
                pass
            time.sleep(waiting)
            return 10

        return Contestant(step)

    rates = race({"computes": computing(0.0), "waits": computing(0.02)}, rounds=2, seconds=0.2)
    for name, each in rates.items():
        assert each["images_per_cpu_s"] == pytest.approx([500, 500], rel=0.1), f"{name}: 10 images in 0.02 s"
    assert max(rates["waits"]["images_per_s"]) < 260


def test_what_is_beside_a_contestant_ends_with_each_of_its_turns(capsys):
    happened = []

    @contextmanager
    def company():
        happened.append("begins")
        try:
            yield
        finally:
            happened.append("ends")

    def failing() -> int:
        raise RuntimeError("no memory")

    contestants = {
        "alone": Contestant(lambda: happened.append("alone") or 1),
        "beside": Contestant(lambda: happened.append("beside") or 1, beside=company),
        "fails": Contestant(failing, beside=company),
    }
    race(contestants, rounds=2, seconds=0.0)
    turn = ["alone", "begins", "beside", "ends"]
    assert happened == [*turn, "begins", "ends", *turn]


def test_no_turn_waits_long_for_workers_that_keep_up(monkeypatch):
    monkeypatch.setattr(timing, "FILLING", 0.05)
    calls = []
    slow = Contestant(lambda: time.sleep(0.03) or calls.append(1) or 1, untimed=10, ahead=100)
    start = time.perf_counter()
    race({"slow": slow, "next": Contestant(lambda: 1)}, rounds=1, seconds=0.01)
    assert len(calls) <= 3, "two take longer than FILLING, and one is timed"
    assert time.perf_counter() - start < 2, "100 pieces take 3 s"
