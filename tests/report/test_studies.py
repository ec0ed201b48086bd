"""The report compares runs that differ in one thing. Expected numbers follow by hand from tests/helpers/runs.py."""

import math

import pytest

from tests.helpers.runs import ADAM, AUGMENT, LOOKAHEAD, SGD, only, with_optimizer, write_condition_numbers, write_run
from tiny_imagenet import report
from tiny_imagenet.report.published import TEN_MODELS
from tiny_imagenet.run.protocol import write_protocol


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


def test_other_published_figures_stand_beside_the_runs_of_their_configs(tmp_path):
    write_run(tmp_path / "resnet50_transfer/version_0", top1=0.5, tested=True)
    write_run(tmp_path / "resnet50_mine/version_0", top1=0.9)
    row = only(report.other_studies_table(report.find_runs(tmp_path).runs).to_dict("records"))
    figures = [row[f"published {figure} (%)"] for figure in ("train top-1", "top-1", "top-5")]
    assert (row["run"], row["test top-1 (%)"], figures) == ("resnet50_transfer", pytest.approx(49), [96.9, 52.9, 75.9])


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


def test_the_best_run_of_each_optimizer_is_drawn_the_best_one_on_top(tmp_path):
    for place, (optimizer, top1) in enumerate(((ADAM, 0.2), (SGD, 0.3), (SGD, 0.4))):
        write_run(tmp_path / f"run{place}/version_0", model={"optimizer": optimizer}, top1=top1, seed=place)
    axis = report.ranking(only(report.find_studies(report.find_runs(tmp_path).runs, report.OPTIMIZER))).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["SGD", "Adam"]
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([40, 20])
    assert axis.yaxis.get_inverted()


@pytest.mark.parametrize(
    ("factor", "options", "values"),
    [
        (report.SCHEDULER, {"model": {"scheduler": None}}, ["WarmupCosine", "none"]),
        (report.EPOCHS, {"epochs": 8}, [5, 8]),
        (report.SHAPE, {"model": {"width": 0.5, "blocks": [2, 1, 1]}}, ["width 1 all blocks", "width 0.5 2 1 1"]),
    ],
)
def test_studies_of_other_factors(tmp_path, factor, options, values):
    write_run(tmp_path / "a/version_0", top1=0.5)
    write_run(tmp_path / "b/version_0", **options, top1=0.4)
    study = only(report.find_studies(report.find_runs(tmp_path).runs, factor))
    assert study.controlled
    assert report.study_table(study)[factor.name].tolist() == values


def test_learning_rates(tmp_path):
    for place, lr in enumerate((1e-2, 1e-4, 1e-3)):
        write_run(tmp_path / f"lr/trial_{place:03}/version_0", model=with_optimizer(ADAM, lr=lr))
    runs = report.find_runs(tmp_path).runs
    assert [run.label for run in runs] == ["lr/000: lr 0.01", "lr/001: lr 0.0001", "lr/002: lr 0.001"]
    study = only(report.find_studies(runs, report.LEARNING_RATE))
    assert report.study_table(study)["learning rate"].tolist() == [1e-4, 1e-3, 1e-2]
    axis = report.effects([study]).axes[-1]
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
    first, *_, last = report.condition_numbers(runs).axes[0].lines[:3]
    assert (first.get_ydata().tolist(), last.get_ydata().tolist()) == ([10.0, 15.0, 22.5], [40.0, 60.0, 90.0])
    assert sum(first.get_color()) < sum(last.get_color()), "the first layer is dark"


def test_runs_on_other_data_or_splits_are_not_controlled(tmp_path):
    def studies(**changed):
        """Batch sizes 64 and 128 of runs that are alike but for this."""
        for place, size in enumerate((64, 128)):
            options = {"train_images": 4500, "val_images": 500, "validates_on_test": False, "data": {}}
            options |= {name: values[place] for name, values in changed.items()}
            data = {"batch_size": size, **options.pop("data")}
            write_protocol(write_run(tmp_path / f"{sorted(changed)}/{place}/version_0", data=data), **options)
        return report.find_studies(report.find_runs(tmp_path / str(sorted(changed))).runs, report.BATCH_SIZE)

    assert only(studies()).controlled
    assert not studies(train_images=(225, 4500))
    assert not studies(val_images=(25, 500))
    assert not studies(validates_on_test=(True, False))
    archives = [{"archive": f"https://a.b/{name}.zip"} for name in ("small", "large")]
    assert not studies(data=archives)


def test_one_archive_in_two_places_is_one_data_set(tmp_path):
    for place, archive in enumerate(("https://a.b/tiny.zip", "/data/tiny.zip")):
        data = {"archive": archive, "root": f"data{place}", "batch_size": 64 * (place + 1)}
        write_run(tmp_path / f"run{place}/version_0", data=data)
    assert only(report.find_studies(report.find_runs(tmp_path).runs, report.BATCH_SIZE)).controlled
