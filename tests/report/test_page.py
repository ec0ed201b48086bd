"""The report as a page: its sections, that it is self-contained, and user errors."""

import base64
import html
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
from tiny_imagenet.run.protocol import write_protocol


def test_the_report_of_all_studies(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report.drawing, "DPI", 40)  # half the time
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
    # Each section says each thing once.
    for section in page.split("<h2 ")[1:]:
        told = re.findall(r"<(?:figcaption|summary)>([^<]*)|<p[^>]*>([^<]*)", section)
        texts = [text for pair in told for text in pair if text]
        assert len(texts) == len(set(texts)), texts
    # The legend is text that a phone shows at its own size; the picture on the page is without it.
    assert re.search(r'<li><i class="line" style="color: #\w{6}"></i>60.0 %  batch_size/000', page)
    in_page = re.search(r'height="(\d+)" src="data:image/png', page)
    with Image.open(tmp_path / "out/pictures/curves_top1.png") as file:
        assert file.height > int(in_page[1]) + 40
    assert "prefers-color-scheme: dark" in page


def test_sections_are_of_what_the_runs_hold(tmp_path):
    write_run(tmp_path / "name/version_0", done=1)
    runs, skipped = report.find_runs(tmp_path)
    sections = list(report.sections(runs, skipped))
    assert [section.title for section in sections] == ["Runs", "Curves"]
    assert any("1 of 1 runs have not finished" in getattr(item, "text", "") for item in sections[0].items)


def test_figures_of_runs_without_validation(tmp_path):
    """A run whose only epoch was not validated, among those of a study, has gaps and breaks nothing."""
    for place, optimizer in enumerate((SGD, ADAM)):
        run = write_run(tmp_path / f"o/trial_{place:03}/version_0", model={"optimizer": optimizer})
        (run / "metrics.csv").write_text("epoch,step,train/loss,val/top1\n0,10,nan,\n")
    runs, skipped = report.find_runs(tmp_path)
    report.write_report(tmp_path / "out", "two runs", list(report.sections(runs, skipped)))
    assert "Optimizers" in (tmp_path / "out/report.html").read_text()


@pytest.mark.slow
def test_five_hundred_runs_take_less_than_fifteen_seconds(tmp_path):
    write_studies(tmp_path / "runs")
    for trial in range(474):
        run = write_run(
            tmp_path / f"runs/tuned/trial_{trial:03}/version_0",
            model=with_optimizer(SGD, lr=0.1 + 0.001 * trial, weight_decay=1e-4 + 1e-6 * trial),
            epochs=50,
            done=50 - trial % 25,
            tested=True,
        )
        write_condition_numbers(run, epochs=50, layers=21)
    started = time.process_time()  # the machine may have other things to do
    main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    assert time.process_time() - started < 15
    assert len(pd.read_csv(tmp_path / "out/tables/runs.csv")) == 500


def test_names_are_escaped(tmp_path):
    for name in ("<script>alert(1)<", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "$\\frac{$", "_a"):
        run = write_run(tmp_path / name / "version_0", model={"arch": name}, tested=True)
        table = (run / "per_class.csv").read_text().replace("tabby", "<b>tabby</b>")
        (run / "per_class.csv").write_text(table)
    main([str(tmp_path), "--out", str(tmp_path / "out")])
    page = (tmp_path / "out/report.html").read_text()
    for wrong in ("<script>alert", "<img src=x", ">49<", "<b>"):
        assert wrong not in page
    assert page.count("<script>") == 1
    assert html.unescape(page).count("$\\frac{$") >= 2, "in the table and in a legend"


def test_the_runs_table_shows_accuracy_first_and_the_best_run_marked(tmp_path):
    for place, top1 in enumerate((0.3, 0.5, 0.4)):
        write_run(tmp_path / f"run{place}/version_0", top1=top1, model={"width": 1.0 + place})
    main([str(tmp_path), "--out", str(tmp_path / "out")])
    page = (tmp_path / "out/report.html").read_text().replace("\N{NON-BREAKING HYPHEN}", "-")
    table = page[page.index("<table>") : page.index("</table>")]
    heads = re.findall(r'<th scope="col" class="([^"]*)"><button type="button">([^<]*)', table)
    shown = [name for classes, name in heads if "rest" not in classes]
    assert shown == [
        "run", "val top-1 (%)", "val top-5 (%)", "test top-1 (%)", "test top-5 (%)", "epochs", "minutes", "images/s"
    ]  # fmt: skip
    assert {"arch", "width", "version", "train top-1 last (%)"} <= {
        name for classes, name in heads if "rest" in classes
    }
    rows = re.findall(r"<tr( class=\"best\")?><td[^>]*>(run\d)", table)
    assert rows == [(' class="best"', "run1"), ("", "run2"), ("", "run0")]
    # What a click on the head sorts by.
    assert re.findall(r'<td class="n" data-value="([^"]*)">(?:50|40|30)\.00<', table) == ["50.0", "40.0", "30.0"]
    files = pd.read_csv(tmp_path / "out/tables/runs.csv")
    assert list(files.columns)[:2] == ["run", "val top-1 (%)"] and files["run"].tolist() == ["run1", "run2", "run0"]


def test_the_best_run_of_each_data_set_is_marked(tmp_path):
    for name, top1, images in (("a", 0.9, 225), ("b", 0.5, 4500), ("c", 0.4, 4500)):
        write_protocol(write_run(tmp_path / name / "version_0", top1=top1), images, 25, False)
    runs, skipped = report.find_runs(tmp_path)
    table, note, *_ = next(report.sections(runs, skipped)).items
    assert [table.content["run"][place] for place in sorted(table.best)] == ["a", "b"]
    assert "train_images" in table.main and "2 data sets" in note.text


@pytest.mark.parametrize("arguments", [["nowhere"], ["runs", "--out", "occupied/out"]])
def test_user_errors_are_one_message(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs/name/version_0")
    (tmp_path / "occupied").write_text("a file")
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert str(exit_.value.code).startswith("error: ")
