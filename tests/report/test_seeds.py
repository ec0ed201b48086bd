"""Runs that differ only in their seed are one run in the report. Expected numbers follow from tests/helpers/runs.py.

Values of 40 and 50 have a mean of 45, a standard deviation of 5 * sqrt(2), and a standard error of 5.
"""

import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from tests.helpers.runs import ADAM, AUGMENT, SGD, only, with_optimizer, write_condition_numbers, write_run
from tiny_imagenet import report
from tiny_imagenet.report.__main__ import main
from tiny_imagenet.report.sections import sections
from tiny_imagenet.report.tables import in_csv, in_markdown
from tiny_imagenet.run.protocol import write_protocol

ERRORS = ("± val top-1 (%)", "± val top-5 (%)", "± test top-1 (%)", "± val loss")


def merged(folder):
    return report.over_seeds(report.find_runs(folder).runs)


def write_seeds(folder, *accuracies, name="version_{}", **options):
    """A run with each of these accuracies, under seeds from 0."""
    for seed, top1 in enumerate(accuracies):
        write_run(folder / name.format(seed), top1=top1, seed=seed, **options)


def test_means_and_standard_errors(tmp_path):
    write_seeds(tmp_path / "a", 0.4, 0.6, tested=True)
    write_run(tmp_path / "b/version_0", top1=0.55, model={"width": 0.5})
    table = report.runs_table(merged(tmp_path))
    assert table["run"].tolist() == ["b", "a (2 seeds)"], "the best mean first, though a seed of a is better"
    assert table["seeds"].tolist() == [1, 2]
    assert table["seed"].tolist() == ["42", "0 1"]
    one = table.iloc[1]
    # val/loss is 5.3 * (1 - top1), val/top5 is top1 + 0.25, the test's top1 is top1 - 0.01.
    assert [one[name[2:]] for name in ERRORS] == pytest.approx([50, 75, 49, 2.65])
    assert [one[name] for name in ERRORS] == pytest.approx([10, 10, 10, 0.53])
    assert table[list(ERRORS)].iloc[0].isna().all(), "one seed has no error"
    shown = report.shown_text(table)
    assert shown["val top-1 (%)"].tolist() == ["55.00", "50.00 ± 10.00"]
    assert shown["test top-1 (%)"].tolist() == ["", "49.00 ± 10.00"]
    assert shown["val loss"].tolist() == ["2.385", "2.65 ± 0.53"]
    assert shown["epochs"].tolist() == ["5", "5"]
    assert not any(name.startswith("±") for name in shown)
    assert "| 50.00 ± 10.00 |" in in_markdown(table)
    header, *rows = (line.split(",") for line in in_csv(table).splitlines())
    assert [rows[1][header.index(name)] for name in ("val top-1 (%)", "± val top-1 (%)")] == ["50", "10"]


def test_three_seeds(tmp_path):
    write_seeds(tmp_path / "a", 0.4, 0.5, 0.6)
    run = only(merged(tmp_path))
    assert (run.results["val top-1 (%)"], run.errors["val top-1 (%)"]) == pytest.approx((50, 10 / math.sqrt(3)))
    assert run.best() == pytest.approx(0.5)


def test_the_mean_is_of_each_seed_s_best_epoch(tmp_path):
    for seed, accuracies in enumerate([(0.1, 0.6, 0.5), (0.4, 0.3, 0.2)]):
        rows = "".join(f"{epoch},{top1}\n" for epoch, top1 in enumerate(accuracies))
        (write_run(tmp_path / f"a/version_{seed}", seed=seed, epochs=3) / "metrics.csv").write_text(
            f"epoch,val/top1\n{rows}"
        )
    run = only(merged(tmp_path))
    assert run.results["val top-1 (%)"] == pytest.approx(50), "and not the best of the mean curve, 45"
    assert run.values("val/top1").tolist() == pytest.approx([0.25, 0.45, 0.35])


@pytest.mark.parametrize("other", [
    {"model": with_optimizer(SGD, lr=0.2)},
    {"model": with_optimizer(SGD, momentum=0.8)},
    {"data": {"augment": AUGMENT}},
    {"epochs": 6},
    {"done": 4},
    {"seed": 0},
])  # fmt: skip
def test_runs_that_differ_otherwise_are_not_one(tmp_path, other):
    write_run(tmp_path / "a/version_0", seed=0)
    write_run(tmp_path / "a/version_1", **{"seed": 1, **other})
    assert [run.label for run in merged(tmp_path)] == ["a v0", "a v1"]


def test_unfinished_runs_are_not_one(tmp_path):
    write_seeds(tmp_path / "a", 0.4, 0.5, done=4)
    assert [run.label for run in merged(tmp_path)] == ["a v0", "a v1"]


def test_runs_on_other_images_are_not_one(tmp_path):
    for seed, images in enumerate((225, 4500)):
        write_protocol(write_run(tmp_path / f"a/version_{seed}", seed=seed), images, 25, False)
    assert len(merged(tmp_path)) == 2


def test_where_a_run_is_and_what_has_no_effect_do_not_matter(tmp_path):
    for seed, name in enumerate(("a", "deep/er/b", "c")):
        write_run(
            tmp_path / name / "version_0", seed=seed, data={"root": name, "num_workers": seed, "archive": "x.zip"}
        )
    assert only(merged(tmp_path)).label == "a (3 seeds)"


def test_the_last_run_of_a_seed_counts(tmp_path):
    for version, (seed, top1) in enumerate([(0, 0.9), (1, 0.5), (0, 0.4)]):
        write_run(tmp_path / f"a/version_{version}", seed=seed, top1=top1)
    runs = merged(tmp_path)
    assert [run.best() for run in runs] == pytest.approx([0.9, 0.45]), "the earlier one stays as it is"


def test_runs_of_one_seed_stay_as_they_are(tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / name / "version_0", model={"width": 1.0 + (name == "b")})
    runs = report.find_runs(tmp_path).runs
    assert report.over_seeds(runs) == runs
    assert not {"seeds", *ERRORS} & set(report.runs_table(runs))


def test_trials_of_a_sweep_with_seeds_are_labelled_by_their_point(tmp_path):
    for trial, (width, seed) in enumerate([(0.5, 0), (0.5, 1), (1.0, 0), (1.0, 1)]):
        write_run(tmp_path / f"w/trial_{trial:03}/version_0", model={"width": width}, seed=seed)
    assert [run.label for run in report.find_runs(tmp_path).runs][0] == "w/000: seed 0, width 0.5"
    assert [run.label for run in merged(tmp_path)] == ["w/000: width 0.5 (2 seeds)", "w/002: width 1 (2 seeds)"]
    study = only(report.find_studies(merged(tmp_path), report.SHAPE))
    assert study.controlled and len(study.runs) == 2


CHANGES = ["none", "sgd", "two_blocks"]
TRIALS = "number,state,value,change,model.width,seed_everything,run,seconds,reason\n" + "".join(
    f"{2 * place + seed},COMPLETE,0.5,{change},{[0.123456, '', 1][place]},{seed},runs/w/x,9.5,\n"
    for place, change in enumerate(CHANGES)
    for seed in (0, 1)
)


def write_changes(folder, table=TRIALS, tested=None):
    """A sweep of three named changes, of two seeds each. One changes many options, as in an ablation."""
    many = {"optimizer": ADAM, "blocks": [1, 1, 1, 1], "label_smoothing": 0.1}
    for trial, change in enumerate(({}, {}, many, many, {"blocks": [2, 2, 2, 2]}, {"blocks": [2, 2, 2, 2]})):
        write_run(folder / f"trial_{trial:03}/version_0", model=change, seed=trial % 2, tested=trial == tested)
    (folder / "trials.csv").write_bytes(table.encode(errors="surrogateescape"))


def cell(text):
    """Text as one cell of a CSV file."""
    return '"' + text.replace('"', '""') + '"'


def labels(runs):
    return [run.label.removeprefix("w/") for run in runs]


def test_trials_have_the_names_of_the_sweep_s_file(tmp_path):
    write_changes(tmp_path / "w")
    assert labels(report.find_runs(tmp_path).runs)[1:3] == [
        "001: change none, width 0.1235, seed 1", "002: sgd, width none, seed 0"
    ]  # fmt: skip
    assert labels(merged(tmp_path)) == [
        "000: change none, width 0.1235 (2 seeds)", "002: sgd, width none (2 seeds)",
        "004: two_blocks, width 1 (2 seeds)",
    ]  # fmt: skip


def test_the_mean_of_several_seeds_is_not_labelled_by_the_one_that_was_tested(tmp_path):
    write_changes(tmp_path / "w", tested=3)
    assert labels(merged(tmp_path))[1] == "003: sgd, width none (2 seeds)"


@pytest.mark.parametrize(("option", "cells", "expected"), [
    ("model.tta", ["true", "false"], ["tta yes", "tta no"]),
    ("model.blocks", ["[2, 2, 2, 2]", "null"], ["blocks 2 2 2 2", "blocks none"]),
    ("seed_everything", ["1234567", "1234568"], ["seed 1234567", "seed 1234568"]),
    ("data.augment", ['[{"class_path": "torchvision.transforms.v2.RandomErasing", "init_args": {"p": 0.5}}]', "[]"],
     ["RandomErasing", "augment none"]),
    ("config", ["a.yaml", "b.yaml"], ["a.yaml", "b.yaml"]),
])  # fmt: skip
def test_values_of_trials_csv_are_short(tmp_path, option, cells, expected):
    rows = [f"{trial},COMPLETE,0.5,{cell(text)},x,1,\n" for trial, text in enumerate(cells)]
    write_changes(tmp_path / "w", f"number,state,value,{option},run,seconds,reason\n{''.join(rows)}")
    assert labels(report.find_runs(tmp_path).runs)[:2] == [f"00{trial}: {text}" for trial, text in enumerate(expected)]


@pytest.mark.parametrize("rest", ["", "3,RUNNING,", "9,RUNNING,0.5,sgd,1,0,x,1,\n\0\udcff\n"])
def test_a_trial_that_is_not_in_trials_csv_leaves_the_others_their_names(tmp_path, rest):
    """A running trial of a sweep of ranges, and one that a lost machine had begun."""
    write_changes(tmp_path / "w", "".join(row for row in TRIALS.splitlines(True) if row[:2] != "3,") + rest)
    assert labels(report.find_runs(tmp_path).runs)[2:5] == [
        "002: sgd, width none, seed 0", "003", "004: two_blocks, width 1, seed 0"
    ]  # fmt: skip


@pytest.mark.parametrize("damage", [
    "", "x", "number\n", TRIALS.partition("\n")[0], TRIALS.replace("number", "n"), TRIALS + "9," + "x" * 200_000 + "\n",
    ",".join("number" + "x" * place for place in range(1500)) + "\n" + "1\n" * 1500,
    TRIALS.replace("\n", "\n9"),
], ids=str.__len__)  # fmt: skip
def test_without_a_whole_trials_csv_the_settings_distinguish_trials(tmp_path, damage):
    write_changes(tmp_path / "w", damage)
    assert report.find_runs(tmp_path).runs[4].label == "w/004: seed 0, lr 0.1, SGD, blocks 2 2 2 2, lab…"


@pytest.mark.parametrize(("word", "shown"), [
    ("\x1b[2J" * 100, r"\x1b[2J"), ("[" * 5000, "[[[["), (json.dumps({"\x1b[2J": 1}), r"\x1b[2J 1"),
    (json.dumps([{"class_path": "B", "init_args": {"\x1b": value}} for value in (1, 2)]), r"B(\x1b 1)"),
])  # fmt: skip
def test_words_of_trials_csv_cannot_steer_a_terminal(tmp_path, word, shown):
    write_changes(tmp_path / "w", TRIALS.replace("sgd", cell(word)).replace("width,", "wi\x1bdth,"))
    every = labels(report.find_runs(tmp_path).runs)
    assert all(label.isprintable() and len(label) <= 48 for label in every) and shown in every[2]


def test_curves_show_the_mean_and_a_band(tmp_path):
    write_seeds(tmp_path / "a", 0.4, 0.5)
    write_run(tmp_path / "b/version_0", model={"width": 0.5})
    figure = report.curves(merged(tmp_path))
    solid = {line.get_color(): line for line in figure.axes[0].lines if line.get_linestyle() == "-"}
    a, b = merged(tmp_path)
    np.testing.assert_allclose(solid[a.colour].get_ydata(), [9, 18, 27, 36, 45])
    bands = [band.get_paths()[0].get_extents() for band in figure.axes[0].collections]
    assert len(bands) == 2, "of training and validation"
    # In the last epoch from 40 to 50 %; in training 1.5 times that.
    assert sorted(band.y1 for band in bands) == pytest.approx([50, 75])
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["50.0 %  b", "45.0 ± 5.0 %  a (2 seeds)"]
    assert report.curves(merged(tmp_path), "loss").legends[0].get_texts()[1].get_text().startswith("2.915 ± 0.2")


def test_studies_rank_and_draw_means(tmp_path):
    for name, optimizer, accuracies in (("adam", ADAM, (0.4, 0.5)), ("sgd", SGD, (0.1, 0.9))):
        write_seeds(tmp_path / name, *accuracies, model={"optimizer": optimizer})
    axis = report.ranking(only(report.find_studies(merged(tmp_path), report.OPTIMIZER))).axes[0]
    assert {text.get_text() for text in axis.texts} >= {"50.0 ± 40.0", "45.0 ± 5.0"}
    write_seeds(tmp_path / "lr", 0.6, model=with_optimizer(ADAM, lr=0.01))
    study = only(report.find_studies(merged(tmp_path), report.LEARNING_RATE))
    assert report.study_table(study)["± val top-1 (%)"].tolist() == [
        pytest.approx(5),
        pytest.approx(math.nan, nan_ok=True),
    ]
    top1 = report.effects([study]).axes[0]
    bar = top1.collections[0].get_segments()[0]
    assert bar[:, 1].tolist() == pytest.approx([40, 50])


def test_the_ten_models_have_means(tmp_path):
    write_seeds(tmp_path / "base", 0.4, 0.5, tested=True)
    write_run(tmp_path / "aug/version_0", data={"augment": AUGMENT}, top1=0.6)
    table = report.ten_models_table(only(report.architecture_studies(merged(tmp_path))))
    shown = report.shown_text(table).iloc[0]
    assert [shown[f"{kind} {split} top-1 (%)"] for kind in ("baseline", "augmented") for split in ("val", "test")] == [
        "45.00 ± 5.00", "44.00 ± 5.00", "60.00", ""
    ]  # fmt: skip


def test_published_figures_stand_beside_means(tmp_path):
    write_seeds(tmp_path / "resnet50_transfer", 0.4, 0.5, tested=True)
    shown = report.shown_text(report.other_studies_table(merged(tmp_path))).iloc[0]
    assert (shown["test top-1 (%)"], shown["published top-1 (%)"]) == ("44.00 ± 5.00", "52.90")


def test_condition_numbers_are_means(tmp_path):
    write_seeds(tmp_path / "a", 0.4, 0.5)
    for seed, first in enumerate((10, 30)):
        write_condition_numbers(tmp_path / f"a/version_{seed}", 2, layers=2, first=first)
    assert only(merged(tmp_path)).layer_conditions.to_numpy().tolist() == [[20, 40], [30, 60]]


def test_the_page_shows_means_and_each_run_after_a_click(tmp_path):
    write_seeds(tmp_path / "runs/a", 0.4, 0.5, tested=True)
    write_run(tmp_path / "runs/b/version_0", top1=0.3, model={"width": 0.5})
    main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    page = (tmp_path / "out/report.html").read_text().replace("\N{NON-BREAKING HYPHEN}", "-")
    assert "<h1>3 runs in runs</h1>" in page
    first, each = re.findall(r"<table>.*?</table>", page, re.DOTALL)[:2]
    heads = re.findall(r'class="([^"]*)"><button type="button">([^<]*)', first)
    assert [name for classes, name in heads if "rest" not in classes][:3] == ["run", "seeds", "val top-1 (%)"]
    assert re.search(r'<td class="n" data-value="45.0">45.00 ± 5.00<', first), "sorted by the mean"
    assert "Each of these runs" in page and "a v0" in each and "a v1" in each and ">b<" not in each
    assert "One of the 2 seeds is shown, that of a, version 0." in page
    tables = {name: pd.read_csv(tmp_path / f"out/tables/{name}.csv") for name in ("runs", "seeds")}
    assert (len(tables["runs"]), len(tables["seeds"])) == (2, 2)


def test_a_seed_that_still_trains_is_counted_as_unfinished(tmp_path):
    write_seeds(tmp_path / "a", 0.4, 0.5)
    write_run(tmp_path / "a/version_2", done=2, seed=2)
    found = report.find_runs(tmp_path)
    texts = [item.text for item in next(sections(*found)).items if hasattr(item, "text")]
    assert "1 of 3 runs have not finished all their epochs; their results may still rise." in texts
