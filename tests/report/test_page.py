"""The report as a page: its sections, that it holds all that it shows, and mistakes of its user."""

import base64
import io
import re
import time

import pandas as pd
import pytest
from PIL import Image

from tests.helpers.runs import (
    ADAM,
    SGD,
    with_optimizer,
    write_condition_numbers,
    write_run,
    write_studies,
)
from tiny_imagenet import report
from tiny_imagenet.report.__main__ import main


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
