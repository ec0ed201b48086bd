"""One bad run never ends the report of the others, whatever its files hold."""

import os
import re
import time
from pathlib import Path

import pytest
import yaml

from tests.helpers.folders import deep_folder
from tests.helpers.runs import write_condition_numbers, write_run
from tiny_imagenet import report
from tiny_imagenet.report import artefacts, finding
from tiny_imagenet.report.__main__ import main

METRICS = "epoch,train/loss,val/loss,val/top1,val/top5,seconds,images_per_s,memory\n"
ALIASES = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(24)
)


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    monkeypatch.setattr(report.drawing, "DPI", 40)


def changed(**options):
    """A config.yaml with other options, model.arch as model__arch."""

    def edit(text):
        config = yaml.safe_load(text)
        for name, value in options.items():
            section, _, option = name.partition("__")
            place = config["data"]["init_args"] if section == "data" else config[section]
            place[option] = value
        return yaml.safe_dump(config)

    return edit


def rows(number, row="0,1,1,0.5,1,1,1,1\n"):
    return METRICS + number * row


def large(path):
    with path.open("wb") as file:
        file.truncate(60_000_000)


def report_of(root, cases, good=True):
    """The report of a good run and a run for each case, a file's name and its content: what was skipped."""
    if good:
        write_run(root / "runs/good/version_0", tested=True)
    for place, (file, content) in enumerate(cases):
        run = write_run(root / f"runs/bad{place:02}", tested=True)
        write_condition_numbers(run, epochs=3)
        path = run / file
        if content in (large, os.mkfifo):
            path.unlink(missing_ok=True)
            content(path)
        else:
            path.write_text(content(path.read_text()) if callable(content) else content)
    main([str(root / "runs"), "--out", str(root / "out")])
    return report.find_runs(root / "runs").skipped


BAD_RUNS = [
    ("config.yaml", ALIASES, "config.yaml is damaged: it has more than 100,000 values."),
    ("config.yaml", "[" * 100_000, "config.yaml is damaged"),
    ("config.yaml", "- " * 100_000, "config.yaml is damaged"),
    ("config.yaml", "a: " + "9" * 5000, "config.yaml is damaged: it has a number of 5,000 characters"),
    ("config.yaml", "a: !!int ''", "config.yaml is damaged: "),
    ("config.yaml", "#" * 1_100_000, "config.yaml is damaged: config.yaml has 1.1 MB, more than 1.0 MB."),
    ("config.yaml", changed(trainer__max_epochs="many"), "config.yaml has trainer.max_epochs 'many', which is not"),
    ("config.yaml", changed(trainer__max_epochs=10**400), "config.yaml has trainer.max_epochs 1000"),
    ("config.yaml", changed(data__batch_size=float("inf")), "config.yaml has data.batch_size inf"),
    ("config.yaml", changed(data__batch_size=0), "config.yaml has data.batch_size 0"),
    ("config.yaml", changed(model__width="w"), "config.yaml has model.width 'w'"),
    ("config.yaml", changed(model__arch=["resnet18"]), "config.yaml has model.arch ['resnet18']"),
    ("metrics.csv", METRICS + "0,1,1,5,1,1,1,1\n", "metrics.csv has val/top1 5, which is not in 0 to 1"),
    ("metrics.csv", METRICS + "0,1,1,0,1,1,1,1\n0.5,1,1,0,1,1,1,1\n", "metrics.csv has epoch 0.5, which is not a wh"),
    ("metrics.csv", METRICS + "1e300,1,1,0.5,1,1,1,1\n", "metrics.csv has epoch 1e+300"),
    ("metrics.csv", METRICS + "inf,1,1,0.5,1,1,1,1\n", "metrics.csv has epoch inf"),
    ("metrics.csv", large, "metrics.csv has 60.0 MB, more than 20.0 MB"),
    ("metrics.csv", rows(1_000_000), "metrics.csv has more than 125,000 rows"),
    ("metrics.csv", "epoch\n" + "0\n" * 9_000_000, "metrics.csv has more than 1,000,000 rows"),
    ("metrics.csv", "epoch" + ",x" * 100_000 + "\n", "metrics.csv has 100,001 columns, more than 1,000"),
    (
        "metrics.csv",
        METRICS + "0," + "1" * 200_000 + ",1,0.5,1,1,1,1\n",
        "metrics.csv is not readable: field larger",
    ),
    ("metrics.csv", "\x1b[2J\x07,val/top1\n0,1\n", "metrics.csv has no column epoch"),
    ("config.yaml", os.mkfifo, "config.yaml is damaged: config.yaml is not a regular file"),
    ("metrics.csv", os.mkfifo, "metrics.csv is not a regular file"),
]


def test_a_bad_run_is_skipped_with_its_reason(tmp_path):
    skipped = report_of(tmp_path, [(file, content) for file, content, _ in BAD_RUNS])
    began = time.process_time()
    report.find_runs(tmp_path / "runs")
    assert time.process_time() - began < 5 * len(BAD_RUNS)
    assert list(skipped) == [f"bad{place:02}" for place in range(len(BAD_RUNS))]
    for why, (_, _, reason) in zip(skipped.values(), BAD_RUNS, strict=True):
        assert why.startswith(reason)


@pytest.mark.parametrize("error", [RecursionError("deep"), MemoryError(), KeyError("x"), AttributeError("\x1b[2J")])
def test_whatever_a_run_raises_the_others_are_reported(tmp_path, monkeypatch, error):
    def read(path):
        if path.parent.name == "bad":
            raise error
        return artefacts.read_metrics(path)

    write_run(tmp_path / "bad")
    write_run(tmp_path / "good")
    monkeypatch.setattr(finding, "read_metrics", read)
    runs, skipped = report.find_runs(tmp_path)
    assert [run.name for run in runs] == ["good"]
    assert skipped["bad"].startswith(f"not readable: {type(error).__name__}") and skipped["bad"].isprintable()


def test_runs_are_found_below_1500_folders(tmp_path, monkeypatch):
    write_run(tmp_path / "good")
    with deep_folder(tmp_path / "deep", 1500) as folder:
        os.mkdir("run")
        for file in ("config.yaml", "metrics.csv"):
            Path("run", file).write_bytes((tmp_path / "good" / file).read_bytes())
        assert {run.folder for run in report.find_runs(tmp_path).runs} == {tmp_path / "good", folder / "run"}


BAD_RESULTS = [
    ("test_metrics.json", '{"top1": ' + "9" * 400 + "}"),
    ("test_metrics.json", '{"top1": Infinity}'),
    ("test_metrics.json", '{"top1": "0.5"}'),
    ("test_metrics.json", "[" * 100_000),
    ("test_metrics.json", "[1]"),
    ("per_class.csv", "class_id,name,images,correct,top1,top5,precision\na,b,inf,1,1,1,1\n"),
    ("per_class.csv", "class_id,name,images,correct,top1,top5,precision\na,b,1,1,1e400,1,1\n"),
    ("confusion.csv", "target_id,target,predicted_id,predicted,count\na,b,c,d,1e400\n"),
    ("condition_numbers.csv", "epoch,layer,condition_number\n1e300,a,1\n"),
    ("condition_numbers.csv", "epoch,layer,condition_number\n" + "".join(f"0,{n},1\n" for n in range(2000))),
    (
        "condition_numbers.csv",
        "epoch,layer,condition_number\n" + "".join(f"{n},{n % 1000},1\n" for n in range(100_000)),
    ),
    *((file, os.mkfifo) for file in ("test_metrics.json", "per_class.csv", "confusion.csv", "condition_numbers.csv")),
]


def test_a_bad_result_is_skipped_and_the_run_kept(tmp_path):
    skipped = report_of(tmp_path, BAD_RESULTS)
    assert list(skipped) == [f"bad{place:02}/{file}" for place, (file, _) in enumerate(BAD_RESULTS)]
    assert len(report.find_runs(tmp_path / "runs").runs) == len(BAD_RESULTS) + 1


ODD = [
    ("config.yaml", changed(data__augment="text", data__resize={"a": {1: 2}}, model__freeze={"x": [None]})),
    (
        "config.yaml",
        changed(data__root=["a"] * 1000, data__classes="\x1b[31m\ud800".encode("unicode_escape").decode()),
    ),
    ("config.yaml", changed(model__optimizer={"class_path": "A", "init_args": {"lr": 10**400}})),
    ("config.yaml", changed(model__optimizer={"class_path": "A", "init_args": {"lr": -1.0}})),
    ("config.yaml", changed(model__arch="x" * 100_000)),
    ("metrics.csv", METRICS + "0,1e308,inf,0.5,0.6,1e308,-1e308,nan\n1,-1,0,0.5,0.6,text,,inf\n"),
    ("metrics.csv", METRICS + "0,,,,,,,\n"),
    ("protocol.json", "[" * 100_000),
    ("protocol.json", '{"train_images": ' + "9" * 400 + ', "val_images": "x", "validates_on_test": 1}'),
    ("condition_numbers.csv", "epoch,layer,condition_number\n0,a,1e308\n0,b,-1\n0,c,nan\n"),
    ("per_class.csv", "class_id,name,images,correct,top1,top5,precision\na,$\\frac{$,1,1,,,\n"),
    ("examples.png", "no picture"),
    *((file, os.mkfifo) for file in ("protocol.json", "examples.png")),
]


def test_odd_content_does_no_harm(tmp_path):
    assert not report_of(tmp_path, ODD)


@pytest.mark.slow
@pytest.mark.parametrize("place", range(len(ODD)))
def test_odd_content_alone_does_no_harm(tmp_path, place):
    """Where no other run sets the scales of the figures."""
    assert not report_of(tmp_path, [ODD[place]], good=False)
    page = (tmp_path / "out/report.html").read_text()
    assert "bad00" in page and page.rstrip().endswith("</html>")


def test_long_trainings_are_drawn_with_fewer_points(tmp_path):
    rows = "".join(f"{n},2.0,2.0,0.5,0.6,1,1,1\n" for n in range(100_000))
    (write_run(tmp_path / "long") / "metrics.csv").write_text(METRICS + rows)
    drawn = report.curves(report.find_runs(tmp_path).runs).axes[0].lines
    assert max(len(line.get_xdata()) for line in drawn) == 2000


def test_control_characters_never_reach_the_terminal(tmp_path, capsys):
    write_run(tmp_path / "good/version_0")
    (write_run(tmp_path / "\x1b[2Jbad\u202e\x07" / "version_0") / "config.yaml").write_text("\x1b]0;title\x07: [")
    (write_run(tmp_path / os.fsdecode(b"\xff\x9b") / "version_0") / "metrics.csv").write_text("\x1b[31m\n")
    main([str(tmp_path), "--out", str(tmp_path / "out")])
    told = capsys.readouterr()
    assert told.err.count("skipped") == 2 and r"\x1b[2Jbad\u202e\x07" in told.err
    assert not re.search(r"[^\n -~]", told.out + told.err)
    page = (tmp_path / "out/report.html").read_text()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", page)
