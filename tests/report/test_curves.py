"""Curves of runs. Expected numbers follow by hand from tests/helpers/runs.py."""

import numpy as np
import pytest

from tests.helpers.runs import (
    write_run,
)
from tiny_imagenet import report


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
    assert 10 < figure.axes[0].get_ylim()[0] < 20, "the axis begins a little below the first accuracy"
    write_run(tmp_path / "long/version_0", top1=0.9, epochs=90)
    assert report.accuracy_by_minutes(report.find_runs(tmp_path).runs).axes[0].get_ylim()[0] == 0, "and not below 0"


def test_panels_have_one_run_each(tmp_path):
    for place in range(6):
        write_run(tmp_path / f"run{place}/version_0")
    runs = report.find_runs(tmp_path).runs
    figure = report.curve_panels(runs, "loss", columns=4)
    assert [axis.get_title() for axis in figure.axes if axis.get_visible()] == [run.label for run in runs]
    grid = report.curve_grid([[runs[0], None], [None, runs[1]]])
    assert [axis.get_visible() for axis in grid.axes] == [True, False, False, True]


def losses(run, *values):
    """A run whose validation losses are these, and whose training losses are 2."""
    run.mkdir(parents=True, exist_ok=True)
    if not (run / "config.yaml").exists():
        run.rmdir()
        write_run(run)
    rows = "".join(f"{epoch},2.0,{value},0.5\n" for epoch, value in enumerate(values))
    (run / "metrics.csv").write_text(f"epoch,train/loss,val/loss,val/top1\n{rows}")


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_few_peaks_of_the_loss_leave_the_picture_and_the_legend_says_so(tmp_path):
    losses(tmp_path / "a/version_0", 472025.6, 2.5, 2.4, 2.3, 2.2, 2.1)
    losses(tmp_path / "b/version_0", 20.0, 2.5, 2.4, 2.3, 2.2, 2.1)
    runs = report.find_runs(tmp_path).runs
    for figure in (report.curves(runs, "loss"), report.curve_grid([runs], "loss")):
        axis = figure.axes[0]
        bottom, top = axis.get_ylim()
        assert (bottom, top) == pytest.approx((2.0 - 0.025, 2.5 + 0.025))
        assert axis.get_yscale() == "linear"
        assert (
            legend(figure)[-1 if len(figure.axes) > 1 else -2] == "▲ 2 points of 2 runs above the axis, up to 4.72e+05"
        )
        assert sum(len(marks.get_offsets()) for each in figure.axes for marks in each.collections) == 2


def test_losses_of_several_sizes_have_a_logarithmic_axis(tmp_path):
    losses(tmp_path / "a/version_0", 2.5, 2.4, 2.3, 2.2)
    losses(tmp_path / "b/version_0", 30.0, 28.0, 27.0, 26.0)
    axis = report.curves(report.find_runs(tmp_path).runs, "loss").axes[0]
    assert axis.get_yscale() == "log"
    assert axis.get_ylim()[0] < 2 and axis.get_ylim()[1] > 30


def test_losses_of_one_size_are_all_shown(tmp_path):
    losses(tmp_path / "a/version_0", 4.0, 3.0, 2.5, 2.2)
    figure = report.curves(report.find_runs(tmp_path).runs, "loss")
    assert figure.axes[0].get_yscale() == "linear"
    assert figure.axes[0].get_ylim()[1] > 4
    assert not any("above" in text for text in legend(figure))


def test_runs_that_coincide_are_told_and_drawn_wider_below(tmp_path):
    for name, top1, done in (("a", 0.5, 5), ("b", 0.5, 3), ("c", 0.4, 5)):  # b stopped early, and is a until then
        write_run(tmp_path / name / "version_0", top1=top1, done=done)
    figure = report.curves(report.find_runs(tmp_path).runs, "top1")
    assert "2 validation curves coincide: a, b" in legend(figure)
    assert "2 training curves coincide: a, b" in legend(figure)
    b, c, a = (line for line in figure.axes[0].lines if line.get_linestyle() == "-")  # the best run on top
    assert [len(line.get_xdata()) for line in (b, c, a)] == [3, 5, 5]
    assert b.get_linewidth() > a.get_linewidth() == c.get_linewidth()


@pytest.mark.parametrize("draw", [report.curves, report.curve_panels])
def test_a_single_epoch_is_the_only_tick(tmp_path, draw):
    write_run(tmp_path / "a/version_0", epochs=1)
    assert draw(report.find_runs(tmp_path).runs).axes[0].get_xticks().tolist() == [1]


def test_beyond_twenty_runs_the_worst_are_grey_and_beyond_twelve_they_have_no_panel(tmp_path):
    for place in range(25):
        write_run(tmp_path / f"run{place:02}/version_0", top1=0.1 + 0.01 * place)
    runs = report.find_runs(tmp_path).runs
    figure = report.curves(runs, "top1")
    assert legend(figure)[0].endswith("run24") and legend(figure)[-1] == "5 more runs"
    assert [len(axis.lines) for axis in figure.axes] == [20, 20]
    assert len(figure.axes[0].collections[0].get_segments()) == 5
    shown = [axis.get_title() for axis in report.curve_panels(runs).axes]
    assert shown == [f"run{place:02}" for place in range(24, 12, -1)]
