"""metrics.csv: the order of columns, empty gaps, and replacement as a whole."""

import csv

import torch
from lightning.pytorch.callbacks import Callback

from tests.helpers.options import callback
from tiny_imagenet.run.history import History, shortest_float


def test_rows_columns_and_gaps(tmp_path):
    first = {"epoch": 0, "step": 5, "train/loss": 1.5, "seconds": 2.0}
    second = {"epoch": 1, "step": 10, "train/loss": 1.25, "val/top1": 0.5, "seconds": 2.5}
    history = History([first, second])
    path = tmp_path / "runs" / "metrics.csv"
    history.write(path)
    assert path.read_text() == (
        "epoch,step,train/loss,train/top1,val/loss,val/top1,val/top5,lr,seconds\n"
        "0,5,1.5,,,,,,2.0\n"
        "1,10,1.25,,,0.5,,,2.5\n"
    )
    assert [file.name for file in path.parent.iterdir()] == ["metrics.csv"], "no temporary file is left"


def test_rows_after_the_checkpoint_are_removed(tmp_path):
    path = tmp_path / "metrics.csv"
    ahead = History([{"epoch": epoch, "step": epoch} for epoch in range(3)])
    ahead.write(path)
    History(ahead.rows[:1]).write(path)
    assert path.read_text().count("\n") == 2


def test_plain_numbers():
    assert shortest_float(torch.tensor(0.1)) == 0.1
    assert shortest_float(torch.tensor(0.1, dtype=torch.float64)) == 0.1
    third = torch.tensor(1 / 3)
    assert torch.tensor(shortest_float(third)) == third, "no precision is lost"
    assert shortest_float(torch.tensor(3)) == 3


def test_a_lost_last_row_is_restored(run, small, tmp_path):
    fit = ["fit", *small, *callback("ConditionNumbers")]
    assert run(*fit)[0] == 0
    version = tmp_path / "runs" / "defaults" / "version_0"
    before = {name: (version / name).read_text() for name in ("metrics.csv", "condition_numbers.csv")}
    for name in before:
        (version / name).unlink()
    assert run(*fit, "--ckpt_path=last")[0] == 0
    assert {name: (version / name).read_text() for name in before} == before


def test_a_damaged_metrics_file_is_rewritten(run, small, finished):
    metrics = finished(*small) / "metrics.csv"
    whole = metrics.read_bytes()
    metrics.write_bytes(b"\xff\xfe\x00\x81")
    assert run("fit", *small, "--ckpt_path=last")[0] == 0
    assert metrics.read_bytes() == whole


class LogsThePlace(Callback):
    def on_train_epoch_end(self, trainer, pl_module) -> None:
        pl_module.log_dict({"step": 100.0, "epoch": 7.5, "own": 2.5})


def test_a_user_who_logs_step_and_epoch_leaves_the_columns_alone(run, small, tmp_path):
    status, output = run("fit", *small, *callback("tests.run.test_history.LogsThePlace"))
    assert status == 0, output
    with open(tmp_path / "runs" / "defaults" / "version_0" / "metrics.csv") as file:
        rows = [(row["epoch"], row["step"], row["own"]) for row in csv.DictReader(file)]
    assert rows == [("0", "8", "2.5"), ("1", "16", "2.5")]
