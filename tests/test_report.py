"""The report: run folders in, tables and pictures out. Expected numbers follow by hand from tests/runs_fixture.py."""

import base64
import io
import math
import re
import time

import pandas as pd
import pytest
from PIL import Image
from runs_fixture import ADAM, AUGMENT, LOOKAHEAD, SGD, write_condition_numbers, write_run, write_studies

from tiny_imagenet import report
from tiny_imagenet.errors import UserError
from tiny_imagenet.report.__main__ import main
from tiny_imagenet.report.published import TEN_MODELS
from tiny_imagenet.report.settings import differing, settings
from tiny_imagenet.report.tables import in_markdown


def with_optimizer(optimizer, **arguments):
    return {"optimizer": {**optimizer, "init_args": {**optimizer["init_args"], **arguments}}}


def only(runs):
    assert len(runs) == 1
    return runs[0]


# Finding and reading runs


def test_runs_are_found_at_any_depth_in_natural_order(tmp_path):
    for name in ("b/version_10", "b/version_2", "a/trial_001/version_0", "deep/er/c/version_0", "plain"):
        write_run(tmp_path / "runs" / name)
    runs, skipped = report.find_runs(tmp_path / "runs")
    assert [(run.name, run.version) for run in runs] == [
        ("a/trial_001", 0), ("b", 2), ("b", 10), ("deep/er/c", 0), ("plain", 0)
    ]  # fmt: skip
    assert [run.label for run in runs] == ["a/001", "b v2", "b v10", "deep/er/c", "plain"]
    assert len({run.colour for run in runs}) == 5
    assert not skipped


@pytest.mark.parametrize("place", ["runs/name", "runs/name/version_3", "runs/name/version_3/checkpoints/best.ckpt"])
def test_one_run_or_one_checkpoint_will_do(tmp_path, place):
    run = write_run(tmp_path / "runs/name/version_3")
    (run / "checkpoints").mkdir()
    (run / "checkpoints/best.ckpt").touch()
    found = only(report.find_runs(tmp_path / place).runs)
    assert (found.name, found.version) == ("name", 3)
    assert found.checkpoint == run / "checkpoints/best.ckpt"


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("metrics.csv", None, "no metrics.csv"),
        ("metrics.csv", "", "metrics.csv is empty"),
        ("metrics.csv", "epoch,val/top1\n", "metrics.csv has no whole row yet"),
        ("metrics.csv", "epoch,val/top1\n0,0.", "metrics.csv has no whole row yet"),
        ("metrics.csv", "epoch,val/top1\n,0.5\n", "metrics.csv has no finished epoch yet"),
        ("metrics.csv", "step,val/top1\n1,0.5\n", "metrics.csv has no column epoch"),
        ("config.yaml", None, "no config.yaml"),
        ("config.yaml", "model: [\n", "config.yaml is not readable: did not find expected node content, line 2"),
        ("config.yaml", "", "config.yaml holds no options"),
        ("config.yaml", "\x00", "config.yaml is not readable"),
    ],
)
def test_what_cannot_be_read_is_skipped_with_the_reason(tmp_path, file, content, reason):
    write_run(tmp_path / "good/version_0")
    bad = write_run(tmp_path / "bad/version_0") / file
    bad.unlink() if content is None else bad.write_text(content)
    runs, skipped = report.find_runs(tmp_path)
    assert only(runs).name == "good"
    assert list(skipped) == ["bad/version_0"]
    assert skipped["bad/version_0"].startswith(reason)
    with pytest.raises(UserError, match=re.escape(reason)):
        report.find_runs(tmp_path / "bad")


def test_a_run_is_kept_without_what_cannot_be_read_of_its_test(tmp_path):
    run = write_run(tmp_path / "name/version_0", tested=True)
    files = ["test_metrics.json", "per_class.csv", "confusion.csv", "condition_numbers.csv"]
    for file in files:
        (run / file).write_text("half of")
    runs, skipped = report.find_runs(tmp_path)
    assert only(runs).best() == 0.5
    assert list(skipped) == [f"name/version_0/{file}" for file in files]
    assert [section.title for section in report.sections(runs, skipped)] == ["Runs", "Curves"]


def test_a_half_written_line_is_left_out(tmp_path):
    path = write_run(tmp_path / "name/version_0", epochs=4, top1=0.4) / "metrics.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]) + "not,a\n" + lines[3] + lines[3] + lines[4][:20])
    run = only(report.find_runs(tmp_path).runs)
    assert run.values("val/top1").to_dict() == pytest.approx({1: 0.1, 2: 0.2, 3: 0.3})


@pytest.mark.parametrize("file", ["metrics.csv", "config.yaml", "per_class.csv", "confusion.csv", "test_metrics.json"])
def test_a_file_cut_off_anywhere_does_no_harm(tmp_path, file):
    write_run(tmp_path / "good/version_0")
    path = write_run(tmp_path / "cut/version_0", tested=True) / file
    content = path.read_bytes()
    for length in range(0, len(content), 173):
        path.write_bytes(content[:length])
        runs, _ = report.find_runs(tmp_path)
        table = report.runs_table(runs)
        assert len(table) == len(runs) >= 1
        if file == "metrics.csv" and len(runs) == 2:
            # Whole rows only: their values are those of the whole file, not of a number cut short.
            assert runs[0].values("val/top1").tolist() == pytest.approx(
                [0.1, 0.2, 0.3, 0.4, 0.5][: len(runs[0].metrics)]
            )


def test_nothing_there_is_an_error_that_says_so(tmp_path):
    with pytest.raises(UserError, match="nowhere is not there"):
        report.find_runs(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no run"):
        report.find_runs(tmp_path)


# Settings


def test_runs_differ_in_few_words():
    def config(**model):
        return {"seed_everything": 1, "model": model, "trainer": {"max_epochs": 5}}

    every = [
        settings(config(arch="resnet18", **with_optimizer(SGD))),
        settings(config(arch="resnet18", **with_optimizer(SGD, lr=0.01, momentum=0.0))),
        settings(config(arch="resnet50", optimizer=LOOKAHEAD, freeze=["conv1", "bn1"])),
    ]
    assert differing(every) == [
        {"arch": "resnet18", "lr": "0.1", "optimizer": "SGD(momentum 0.9)", "freeze": "none"},
        {"arch": "resnet18", "lr": "0.01", "optimizer": "SGD(momentum 0)", "freeze": "none"},
        {"arch": "resnet50", "lr": "0.001", "optimizer": "Lookahead(Adam)", "freeze": "conv1 bn1"},
    ]


# Tables


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


# Studies


def test_the_ten_models_stand_beside_the_published(tmp_path):
    for arch, top1 in (("resnet152", 0.3), ("resnet18", 0.4)):
        write_run(tmp_path / f"{arch}_baseline/version_0", model={"arch": arch}, top1=top1, tested=True)
    # With the published recipe's resize; the untested second version does not displace the tested first.
    augmented = {"model": {"arch": "resnet18"}, "data": {"augment": AUGMENT, "resize": 250}}
    write_run(tmp_path / "resnet18_aug/version_0", **augmented, top1=0.5, tested=True)
    write_run(tmp_path / "resnet18_aug/version_1", **augmented, top1=0.9)
    # Another recipe is another table.
    write_run(tmp_path / "other/version_0", data={"batch_size": 32}, top1=0.99)
    table = report.ten_models_table(only(report.architecture_studies(report.find_runs(tmp_path).runs)))
    assert table.to_numpy().tolist() == [
        ["resnet18", *[pytest.approx(x) for x in (40.0, 39.0, 44.6, 50.0, 49.0, 52.1)]],
        ["resnet152", *[pytest.approx(x, nan_ok=True) for x in (30.0, 29.0, 41.6, math.nan, math.nan, 52.4)]],
    ]


def test_published_figures():
    assert [TEN_MODELS[f"resnet{depth}"] for depth in (18, 34, 50, 101, 152)] == [
        (44.6, 52.1), (44.7, 52.3), (42.2, 53.5), (43.3, 52.1), (41.6, 52.4)
    ]  # fmt: skip


def test_batch_sizes_count_accumulated_steps_and_only_like_runs(tmp_path):
    for place, (size, accumulated, seed) in enumerate([(64, 1, 1), (1024, 4, 1), (64, 1, 2)]):
        options = {"data": {"batch_size": size}, "trainer": {"accumulate_grad_batches": accumulated}}
        write_run(tmp_path / f"bs/trial_{place:03}/version_0", **options, seed=seed, seconds=10.0 * (place + 1))
    write_run(tmp_path / "another_stem/version_0", model={"stem": "imagenet"}, data={"batch_size": 128})
    study = only(report.find_studies(report.find_runs(tmp_path).runs, report.BATCH_SIZE))
    assert study.controlled
    table = report.study_table(study)
    assert table["batch size"].tolist() == [64, 64, 4096]
    assert table["seconds an epoch"].tolist() == [10.0, 30.0, 20.0]
    assert table["images/s"].tolist() == pytest.approx([9000.0, 3000.0, 4500.0])
    lines = report.effects([study]).axes[1].lines
    assert lines[1].get_xdata().tolist() == [64, 4096]
    assert lines[1].get_ydata().tolist() == [20.0, 20.0]  # the mean of both seeds


def test_a_sweep_that_scales_the_learning_rate_too_is_an_uncontrolled_study(tmp_path):
    for place, size in enumerate((64, 128)):
        model = with_optimizer(SGD, lr=0.1 * size / 64)
        write_run(tmp_path / f"scaled/trial_{place:03}/version_0", model=model, data={"batch_size": size})
    study = only(report.find_studies(report.find_runs(tmp_path).runs, report.BATCH_SIZE))
    assert not study.controlled
    assert study.label == "scaled (other settings differ too)"


def test_optimizers_are_ranked_and_do_not_make_a_study_of_learning_rates(tmp_path):
    for place, optimizer in enumerate((SGD, ADAM, LOOKAHEAD)):
        write_run(tmp_path / f"o/trial_{place:03}/version_0", model={"optimizer": optimizer}, top1=0.5 - 0.1 * place)
    runs = report.find_runs(tmp_path).runs
    assert report.study_table(only(report.find_studies(runs, report.OPTIMIZER)))["optimizer"].tolist() == [
        "SGD", "Adam", "Lookahead(Adam)"
    ]  # fmt: skip
    assert not report.find_studies(runs, report.LEARNING_RATE)


def test_learning_rates(tmp_path):
    for place, lr in enumerate((1e-2, 1e-4, 1e-3)):
        write_run(tmp_path / f"lr/trial_{place:03}/version_0", model=with_optimizer(ADAM, lr=lr))
    runs = report.find_runs(tmp_path).runs
    assert [run.label for run in runs] == ["lr/000: lr 0.01", "lr/001: lr 0.0001", "lr/002: lr 0.001"]
    study = only(report.find_studies(runs, report.LEARNING_RATE))
    assert report.study_table(study)["learning rate"].tolist() == [1e-4, 1e-3, 1e-2]
    axis = report.effects([study]).axes[0]
    assert (axis.get_xscale(), axis.get_xlabel()) == ("log", "learning rate")


def test_condition_numbers(tmp_path):
    run = write_run(tmp_path / "name/version_0")
    write_condition_numbers(run, epochs=3, layers=3, first=10.0)
    with (run / "condition_numbers.csv").open("a") as file:
        file.write("2,fc,inf\n2,layer0.conv,1")  # a rank-deficient layer, and half a line
    runs = report.find_runs(tmp_path).runs
    row = report.conditions_table(runs).iloc[0]
    # Layers start at 10, 20, 40 and have 2.25 times that after the third epoch.
    assert (row["median first"], row["median last"], row["largest last"]) == (20.0, 45.0, 90.0)
    assert (row["layers"], row["epochs"], row["its layer"], row["rank-deficient last"]) == (4, 3, "layer2.conv", 1)
    line = report.condition_medians(runs).axes[0].lines[0]
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([1, 2, 3], [20.0, 30.0, 45.0])


# Classes


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


# Figures


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


def test_panels_have_one_run_each(tmp_path):
    for place in range(6):
        write_run(tmp_path / f"run{place}/version_0")
    runs = report.find_runs(tmp_path).runs
    figure = report.curve_panels(runs, "loss", columns=4)
    assert [axis.get_title() for axis in figure.axes if axis.get_visible()] == [run.label for run in runs]
    grid = report.curve_grid([[runs[0], None], [None, runs[1]]])
    assert [axis.get_visible() for axis in grid.axes] == [True, False, False, True]


# The page


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
