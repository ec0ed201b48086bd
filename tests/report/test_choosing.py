"""The best run is chosen by validation, and within one data set."""

from tests.helpers.runs import write_run
from tiny_imagenet import report
from tiny_imagenet.run.protocol import write_protocol


def test_the_best_run_is_that_of_the_best_validation_within_the_largest_data_set(tmp_path):
    for name, top1, images in (("a", 0.9, 225), ("b", 0.4, 4500), ("c", 0.5, 4500)):
        run = write_run(tmp_path / name / "version_0", top1=top1, tested=True)
        write_protocol(run, images, 25, False)
    (tmp_path / "b/version_0/test_metrics.json").write_text('{"top1": 0.99, "top5": 1.0}')
    runs = report.find_runs(tmp_path).runs
    assert [[run.name for run in group] for group in report.by_data(runs)] == [["b", "c"], ["a"]]
    assert [run.name for run in report.best_of_each_data(runs)] == ["c", "a"], "b is better on the test images only"
    assert report.data_text(runs[1]) == (
        "TinyImageNetDataModule, source data, train_images 4500, val_images 25, validates_on_test no"
    )


def test_runs_without_validation_are_last_and_never_best(tmp_path):
    write_run(tmp_path / "a/version_0", top1=0.1)
    run = write_run(tmp_path / "b/version_0", data={"classes": 10})
    (run / "metrics.csv").write_text("epoch,step\n0,10\n")
    runs = report.find_runs(tmp_path).runs
    assert [run.name for run in report.best_first(runs[::-1])] == ["a", "b"]
    assert [run.name for run in report.best_of_each_data(runs)] == ["a"]
