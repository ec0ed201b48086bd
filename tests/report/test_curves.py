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


def test_panels_have_one_run_each(tmp_path):
    for place in range(6):
        write_run(tmp_path / f"run{place}/version_0")
    runs = report.find_runs(tmp_path).runs
    figure = report.curve_panels(runs, "loss", columns=4)
    assert [axis.get_title() for axis in figure.axes if axis.get_visible()] == [run.label for run in runs]
    grid = report.curve_grid([[runs[0], None], [None, runs[1]]])
    assert [axis.get_visible() for axis in grid.axes] == [True, False, False, True]
