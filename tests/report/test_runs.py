"""The report reads runs: whole, growing and broken ones. Expected numbers follow by hand from tests/helpers/runs.py."""

import re
from dataclasses import replace

import pytest

from tests.helpers.runs import LOOKAHEAD, SGD, only, with_optimizer, write_run
from tiny_imagenet import report
from tiny_imagenet.errors import UserError
from tiny_imagenet.report.settings import differing, settings
from tiny_imagenet.report.tables import results_table
from tiny_imagenet.run.protocol import write_protocol


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
    for name in ("best.ckpt", "last.ckpt"):
        (run / "checkpoints" / name).touch()
    found = only(report.find_runs(tmp_path / place).runs)
    assert (found.name, found.version) == ("name", 3)
    assert found.checkpoint == run / "checkpoints/best.ckpt"
    write_protocol(run, 100, 10, validates_on_test=True)
    found = only(report.find_runs(tmp_path / place).runs)
    assert found.checkpoint == run / "checkpoints/last.ckpt" and found.validates_on_test


@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
@pytest.mark.parametrize(("holdout", "expected"), [(0, True), (None, True), (1000, False), (0.1, False)])
def test_the_protocol_is_inferred_from_holdout_if_its_file_is_missing(tmp_path, content, holdout, expected):
    run = write_run(tmp_path / "name/version_0", data={"holdout": holdout})
    if content is not None:
        (run / "protocol.json").write_text(content)
    assert only(report.find_runs(tmp_path).runs).validates_on_test == expected


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
        ("config.yaml", "model: [\n", "config.yaml is damaged: did not find expected node content (line 2)."),
        ("config.yaml", "", "config.yaml is damaged: it holds no options."),
        ("config.yaml", "\x00", "config.yaml is damaged: "),
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


def test_the_best_epoch_counts_unless_the_test_images_would_choose_it(tmp_path):
    write_run(tmp_path / "name/version_0")
    run = only(report.find_runs(tmp_path).runs)
    falling = replace(run, metrics=run.metrics.assign(**{"val/top1": [0.5, 0.6, 0.7, 0.6, 0.4]}))
    falling.metrics["val/top5"] = [0.8, 0.81, 0.82, 0.9, 0.83]
    assert falling.best() == 0.7 and falling.best_epoch() == 3
    by_last = replace(falling, protocol=falling.protocol._replace(validates_on_test=True))
    assert by_last.best() == 0.4
    falling.metrics["image_size"] = [32, 32, 32, 64, 64]
    assert replace(falling).best() == 0.6 and replace(falling).best_epoch() == 4
    del falling.metrics["image_size"]
    rows = results_table([falling, by_last])
    assert rows["val top-5 (%)"].tolist() == pytest.approx([82, 83]), "of the same epoch as top-1"
    assert rows["val top-1 median of last ten (%)"].tolist() == pytest.approx([60, 60])


def test_a_run_is_kept_without_the_unreadable_parts_of_its_test(tmp_path):
    run = write_run(tmp_path / "name/version_0", tested=True)
    files = ["test_metrics.json", "per_class.csv", "confusion.csv", "condition_numbers.csv"]
    for file in files:
        (run / file).write_text("half of")
    runs, skipped = report.find_runs(tmp_path)
    assert only(runs).best() == 0.5
    assert set(skipped) == {f"name/version_0/{file}" for file in files}
    assert [section.title for section in report.sections(runs, skipped)] == ["Runs", "Curves"]


def test_the_user_s_own_metrics_may_have_any_name(tmp_path):
    path = write_run(tmp_path / "name/version_0", epochs=1) / "metrics.csv"
    header, row = path.read_text().splitlines()
    path.write_text(f"{header},images,precision\n{row},0.5,71.5\n")
    metrics = only(report.find_runs(tmp_path).runs).metrics
    assert metrics["images"].tolist() == [0.5] and metrics["precision"].tolist() == [71.5]


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
