"""Tables of runs. Expected numbers follow by hand from tests/helpers/runs.py."""

import math

import pandas as pd
import pytest

from tests.helpers.runs import (
    AUGMENT,
    write_run,
)
from tiny_imagenet import report
from tiny_imagenet.report.tables import in_csv, in_markdown


def test_the_table_of_runs(tmp_path):
    write_run(tmp_path / "going/version_1", data={"augment": AUGMENT, "num_workers": 4}, epochs=10, done=4, top1=0.5)
    write_run(tmp_path / "tested/version_0", model={"arch": "resnet50"}, epochs=10, top1=0.6, seconds=30.0, tested=True)
    table = report.runs_table(report.find_runs(tmp_path).runs)
    assert table["run"].tolist() == table["folder"].tolist() == ["tested", "going"], "the best first"
    assert table["version"].tolist() == [0, 1]
    assert table["arch"].tolist() == ["resnet50", "resnet18"]
    assert table["augmented"].tolist() == ["no", "yes"]
    assert table["augment"].tolist() == ["none", "RandomCrop+RandomHorizontalFlip"]
    assert "num_workers" not in table  # without effect on any result
    assert list(table.columns[:5]) == ["run", *(f"{split} top-{k} (%)" for split in ("val", "test") for k in (1, 5))]
    expected = {
        "epochs": [4, 10],
        "of": [10, 10],
        "val top-1 (%)": [20.0, 60.0],  # 4 of 10 equal steps to 50 %; 60 %
        "val top-5 (%)": [30.0, 85.0],  # 4 of 10 equal steps to 75 %; 85 %
        "test top-1 (%)": [math.nan, 59.0],
        "test top-5 (%)": [math.nan, 79.0],
        "minutes": [(4 * 60 + 20) / 60, (10 * 30 + 20) / 60],  # the first epoch takes 20 s more
        "seconds an epoch": [60.0, 30.0],
        "images/s": [1500.0, 3000.0],
        "memory (MiB)": [2048.0, 2048.0],
    }
    for name, values in expected.items():
        assert table[name].tolist()[::-1] == pytest.approx(values, nan_ok=True), name


def test_the_best_epoch_is_not_the_last(tmp_path):
    path = write_run(tmp_path / "name/version_0") / "metrics.csv"
    path.write_text("epoch,val/loss,val/top1,val/top5\n0,2,0.3,0.6\n1,,,\n2,3,0.5,0.7\n3,4,0.4,0.8\n")
    row = report.runs_table(report.find_runs(tmp_path).runs).iloc[0]
    found = [row[f"val {name}"] for name in ("top-1 (%)", "top-1 last (%)", "top-5 (%)", "loss")]
    assert found == pytest.approx([50.0, 40.0, 70.0, 2.0])


def test_markdown_is_rounded_and_aligned():
    table = pd.DataFrame({"run": ["a|b", "c"], "val top-1 (%)": [51.2345, math.nan], "images": [10000, 2]})
    assert in_markdown(table) == (
        "| run | val top-1 (%) | images |\n| --- | ---: | ---: |\n| a/b | 51.23 | 10000 |\n| c |  | 2 |\n"
    )


def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe():
    table = pd.DataFrame({"run": ["=1+1", "+a", "-b", "@c", "a=b", "-0.5", "\t=d", "e\x1b[2J"], "=x": [-1.5] * 8})
    assert in_csv(table).splitlines() == [
        "run,'=x", "'=1+1,-1.5", "'+a,-1.5", "'-b,-1.5", "'@c,-1.5", "a=b,-1.5", "-0.5,-1.5", "\\t=d,-1.5",
        "e\\x1b[2J,-1.5",
    ]  # fmt: skip
