"""The names of metrics, and that a new one needs a line in two files."""

import inspect
import types

import pytest
import torch

from tests.helpers.tables import table
from tiny_imagenet.callbacks.progress import epoch_line
from tiny_imagenet.classifier import metrics
from tiny_imagenet.classifier.metrics import build_metrics, restore_sums, sums_of_ranks
from tiny_imagenet.run import history, metric_names
from tiny_imagenet.run.history import History
from tiny_imagenet.run.metric_names import is_accuracy, is_learning_rate, shown

LOGITS = torch.tensor([[4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0], [1.0, 4.0, 3.0, 2.0]])
LABELS = torch.tensor([2, 3, 1, 0])  # at places 3, 4, 3 and 4
LOSSES = torch.tensor([1.0, 2.0, 3.0, 4.0])


@pytest.fixture
def top3(monkeypatch) -> types.ModuleType:
    """A new metric of training, added as its file says; returns metric_names as it would then be loaded."""
    line = '"train": ("loss", "top1"),'
    source = inspect.getsource(metric_names)
    assert source.count(line) == 1
    edited = types.ModuleType("edited")
    exec(source.replace(line, '"train": ("loss", "top1", "top3"),'), vars(edited))
    monkeypatch.setitem(metric_names.STAGES, "train", edited.STAGES["train"])
    monkeypatch.setattr(metric_names, "OF_EPOCH", edited.OF_EPOCH)
    monkeypatch.setitem(metrics._METRICS, "top3", metrics._top(3))
    return edited


def updated(names: str = "train"):
    built = build_metrics(names, 4)
    built.update(preds=LOGITS, target=LABELS, value=LOSSES)
    return built


def test_a_new_metric_is_computed(top3):
    found = {name: float(value) for name, value in updated().compute().items()}
    assert found == {"train/loss": 2.5, "train/top1": 0.0, "train/top3": 0.5}


def test_a_new_metric_stands_beside_those_of_its_stage(top3):
    assert history.first_columns() == [
        "epoch", "step", "train/loss", "train/top1", "train/top3", "val/loss", "val/top1", "val/top5", "lr",
    ]  # fmt: skip
    assert "train/top3" in top3.OF_EPOCH, "a config may watch it"


def test_a_new_metric_has_its_column_in_metrics_csv_and_its_place_in_the_line_of_an_epoch(top3, tmp_path):
    row = {"epoch": 0, "step": 8, "val/loss": 2.0, "train/loss": 2.5, "train/top1": 0.0, "train/top3": 0.5}
    History([row]).write(tmp_path / "metrics.csv")
    (found,) = table(tmp_path / "metrics.csv")
    assert list(found) == history.first_columns()
    assert found["train/top3"] == "0.5" and found["lr"] == ""
    expected = "epoch 1/3 | train loss 2.500 top-1 0.0 % top-3 50.0 % | val loss 2.000"
    assert epoch_line(row, 3, None) == expected


def test_a_new_metric_starts_at_zero_in_a_resumed_epoch_and_the_others_continue(top3):
    saved = sums_of_ranks(updated(), lambda value: value[None])
    assert "top3" in saved, "or nothing would be left out here"
    del saved["top3"]
    resumed = build_metrics("train", 4)
    restore_sums(resumed, saved, rank=0, ranks=1)
    assert float(resumed["train/loss"].metric_state["weight"]) == 4
    assert float(resumed["train/loss"].metric_state["mean_value"]) == 10
    state = resumed["train/top3"].metric_state
    assert int(state["tp"].sum()) == int(state["fn"].sum()) == 0
    resumed.update(preds=LOGITS[:1], target=LABELS[:1], value=torch.tensor([5.0]))
    found = {name: float(value) for name, value in resumed.compute().items()}
    assert found == {"train/loss": 3.0, "train/top1": 0.0, "train/top3": 1.0}


def test_a_metric_that_is_no_longer_computed_is_left_out_of_the_sums(top3, monkeypatch):
    saved = sums_of_ranks(updated(), lambda value: value[None])
    monkeypatch.setitem(metric_names.STAGES, "train", ("loss", "top1"))
    resumed = build_metrics("train", 4)
    restore_sums(resumed, saved, rank=0, ranks=1)
    assert list(resumed) == ["train/loss", "train/top1"]
    assert float(resumed["train/loss"].metric_state["mean_value"]) == 10


def test_each_stage_has_the_metrics_that_are_promised():
    assert {stage: set(updated(stage).compute()) for stage in ("train", "val", "test")} == {
        "train": {"train/loss", "train/top1"},
        "val": {"val/loss", "val/top1", "val/top5"},
        "test": {"test/loss", "test/top1", "test/top5"},
    }


def test_a_column_of_the_user_s_follows_the_others(tmp_path):
    History([{"epoch": 0, "step": 8, "seconds": 1.5}, {"epoch": 1, "mine": 3}]).write(tmp_path / "metrics.csv")
    rows = table(tmp_path / "metrics.csv")
    assert list(rows[0])[-3:] == ["lr", "seconds", "mine"]
    assert [row["mine"] for row in rows] == ["", "3"]


def test_names_for_readers():
    assert [shown(name) for name in ("top1", "top10", "loss")] == ["top-1", "top-10", "loss"]
    assert [is_accuracy(name) for name in ("val/top1", "top5", "val/loss", "stop", "train/loss_step")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert [is_learning_rate(name) for name in ("lr-SGD", "lr-SGD/pg1", "lr", "val/lr-1")] == [True, True, False, False]
