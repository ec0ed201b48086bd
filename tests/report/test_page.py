"""The report: tables, figures, and the page. Expected numbers follow by hand from tests/helpers/runs.py."""

import base64
import io
import math
import re
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.helpers.runs import (
    ADAM,
    AUGMENT,
    SGD,
    only,
    with_optimizer,
    write_condition_numbers,
    write_run,
    write_studies,
)
from tiny_imagenet import report
from tiny_imagenet.report.__main__ import main
from tiny_imagenet.report.tables import in_markdown


def test_the_table_of_runs(tmp_path):
    write_run(tmp_path / "going/version_1", data={"augment": AUGMENT, "num_workers": 4}, epochs=10, done=4, top1=0.5)
    write_run(tmp_path / "tested/version_0", model={"arch": "resnet50"}, epochs=10, top1=0.6, seconds=30.0, tested=True)
    table = report.runs_table(report.find_runs(tmp_path).runs)
    assert table["run"].tolist() == ["going", "tested"]
    assert table["version"].tolist() == [1, 0]
    assert table["arch"].tolist() == ["resnet18", "resnet50"]
    assert table["augmented"].tolist() == ["yes", "no"]
    assert table["augment"].tolist() == ["RandomCrop+RandomHorizontalFlip", "none"]
    assert "num_workers" not in table  # without effect on any result
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
        assert table[name].tolist() == pytest.approx(values, nan_ok=True), name


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


@pytest.fixture
def tested(tmp_path):
    write_run(tmp_path / "name/version_0", tested=True)
    return only(report.find_runs(tmp_path).runs)


def test_best_and_worst_classes(tested):
    everything = report.best_and_worst_classes(tested, 10)
    assert everything["name"].str.split(",").str[0].tolist() == ["goldfish", "Persian cat", "Egyptian cat", "tabby"]
    assert everything["top-1 (%)"].tolist() == [100.0, 50.0, 50.0, 25.0]
    assert everything["images"].tolist() == [4, 4, 2, 4]
    # Called Persian: 2 of 4 Persian cats, 2 tabbies, 1 Egyptian.
    assert everything["precision (%)"][1] == pytest.approx(40.0)
    assert report.best_and_worst_classes(tested, 1)["top-1 (%)"].tolist() == [100.0, 25.0]


def test_most_confused_pairs_count_both_directions(tested):
    pairs = report.most_confused(tested)
    short = [[str(cell).split(",")[0] for cell in row] for row in pairs.drop(columns="of their images (%)").to_numpy()]
    assert short == [
        ["tabby", "Persian cat", "2", "2", "4"],
        ["tabby", "Egyptian cat", "1", "0", "1"],
        ["Egyptian cat", "Persian cat", "1", "0", "1"],
    ]
    assert pairs["of their images (%)"].tolist() == pytest.approx([100 * 4 / 8, 100 * 1 / 6, 100 * 1 / 6])
    assert len(report.most_confused(tested, 1)) == 1


def test_examples_are_shown_no_wider_than_asked_and_may_be_missing(tested):
    assert report.examples(tested, 300).size == (300, 450)  # 600 x 900 before
    (tested.folder / "examples.png").write_bytes(b"half a picture")
    assert report.examples(tested) is None
    (tested.folder / "examples.png").unlink()
    assert report.examples(tested) is None


@pytest.mark.parametrize("number", [1, 3, 12])
def test_curves_are_dashed_in_training_and_solid_in_validation_in_the_runs_colour(tmp_path, number):
    for place in range(number):
        write_run(tmp_path / f"run{place}/version_0", top1=0.1 + 0.05 * place)
    runs = report.find_runs(tmp_path).runs
    figure = report.curves(runs, "top1")
    drawn = {(line.get_color(), line.get_linestyle()): line for axis in figure.axes for line in axis.lines}
    for run in runs:
        assert drawn[run.colour, "-"].get_ydata()[-1] == pytest.approx(100 * run.best())
        assert drawn[run.colour, "--"].get_xdata().tolist() == [1, 2, 3, 4, 5]
    assert len(drawn) == 2 * number
    assert "%" in figure.axes[0].get_ylabel()
    assert figure.legends[0].get_texts()[0].get_text().endswith(runs[-1].label)  # the best run comes first


def test_accuracy_against_minutes(tmp_path):
    write_run(tmp_path / "slow/version_0", top1=0.5, epochs=2, seconds=160)
    write_run(tmp_path / "fast/version_0", top1=0.4, epochs=2, seconds=40)
    figure = report.accuracy_by_minutes(report.find_runs(tmp_path).runs)
    slow, fast = figure.axes[0].lines  # the first epoch takes 20 seconds more; the best run comes first
    np.testing.assert_allclose(slow.get_xydata(), [[3, 25], [340 / 60, 50]])
    np.testing.assert_allclose(fast.get_xydata(), [[1, 20], [100 / 60, 40]])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["50.0 %  slow", "40.0 %  fast"]


def test_panels_have_one_run_each(tmp_path):
    for place in range(6):
        write_run(tmp_path / f"run{place}/version_0")
    runs = report.find_runs(tmp_path).runs
    figure = report.curve_panels(runs, "loss", columns=4)
    assert [axis.get_title() for axis in figure.axes if axis.get_visible()] == [run.label for run in runs]
    grid = report.curve_grid([[runs[0], None], [None, runs[1]]])
    assert [axis.get_visible() for axis in grid.axes] == [True, False, False, True]


def test_the_report_of_all_studies(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report.page, "DPI", 40)  # half the time
    write_studies(tmp_path / "runs")
    main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    page = (tmp_path / "out/report.html").read_text()
    assert re.findall(r"<h2[^>]*>([^<:]*)", page)[:9] == [
        "Runs", "Curves", "Architectures, baseline and augmented", "Beside published figures", "Batch size",
        "Learning rate", "Optimizers", "Width and blocks", "Condition numbers",
    ]  # fmt: skip
    assert len(re.findall("<h2[^>]*>Classes: ", page)) == 3
    # Self-contained: all that the page shows is in it.
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    for kind, data in re.findall(r'src="data:image/(\w+);base64,([^"]*)"', page):
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert picture.format.lower() == kind
            assert picture.size[0] <= 1300
    # Skipped runs are named, on the page and on the terminal.
    told = capsys.readouterr()
    for where in ("broken/version_0", "killed/version_0", "not_begun/version_0"):
        assert where in page
        assert f"skipped {where}: " in told.err
    assert "26 runs in runs" in told.out
    names = {path.stem for path in (tmp_path / "out/tables").iterdir()}
    assert {"runs", "skipped", "architectures_1", "batch_size_1", "learning_rate_1", "optimizer_1"} <= names
    for name in names:
        rows = pd.read_csv(tmp_path / f"out/tables/{name}.csv")
        assert len((tmp_path / f"out/tables/{name}.md").read_text().splitlines()) == len(rows) + 2
    pictures = {path.name for path in (tmp_path / "out/pictures").iterdir()}
    assert {"curves_top1.png", "architectures_1_loss.png", "batch_size.png", "condition_numbers.png"} <= pictures


def test_sections_are_of_what_the_runs_hold(tmp_path):
    write_run(tmp_path / "name/version_0", done=1)
    runs, skipped = report.find_runs(tmp_path)
    sections = list(report.sections(runs, skipped))
    assert [section.title for section in sections] == ["Runs", "Curves"]
    assert any("1 of 1 have not finished" in getattr(item, "text", "") for item in sections[0].items)


def test_figures_of_runs_without_validation(tmp_path):
    """A run whose only epoch was not validated, among those of a study, has gaps and breaks nothing."""
    for place, optimizer in enumerate((SGD, ADAM)):
        run = write_run(tmp_path / f"o/trial_{place:03}/version_0", model={"optimizer": optimizer})
        (run / "metrics.csv").write_text("epoch,step,train/loss,val/top1\n0,10,nan,\n")
    runs, skipped = report.find_runs(tmp_path)
    report.write_report(tmp_path / "out", "two runs", list(report.sections(runs, skipped)))
    assert "Optimizers" in (tmp_path / "out/report.html").read_text()


@pytest.mark.slow
def test_fifty_runs_take_less_than_fifteen_seconds(tmp_path):
    write_studies(tmp_path / "runs")
    for trial in range(24):
        run = write_run(
            tmp_path / f"runs/tuned/trial_{trial:03}/version_0",
            model=with_optimizer(SGD, lr=0.1 + 0.01 * trial, weight_decay=1e-4 + 1e-5 * trial),
            epochs=50,
            done=50 - trial,
            tested=True,
        )
        write_condition_numbers(run, epochs=50, layers=21)
    started = time.process_time()  # the machine may have other things to do
    main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    assert time.process_time() - started < 15
    assert len(pd.read_csv(tmp_path / "out/tables/runs.csv")) == 50


def test_names_are_escaped(tmp_path):
    write_run(tmp_path / "<script>alert(1)</version_0")
    main([str(tmp_path), "--out", str(tmp_path / "out")])
    assert "<script>" not in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize("arguments", [["nowhere"], ["runs", "--out", "occupied/out"]])
def test_mistakes_are_told_in_one_message(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs/name/version_0")
    (tmp_path / "occupied").write_text("a file")
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert str(exit_.value.code).startswith("error: ")
