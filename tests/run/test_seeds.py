"""Means over seeds, beside NumPy's."""

import math

import numpy as np
import pytest

from tiny_imagenet.run.seeds import mean_of


def test_the_standard_error_by_hand():
    # Deviations of -2, 0, 0 and 2: a variance of 8/3, and 2/3 of the mean of four.
    assert mean_of([3, 5, 5, 7]) == (5.0, pytest.approx(math.sqrt(2 / 3)))


@pytest.mark.parametrize("count", [2, 3, 10])
def test_as_numpy_computes_them(count):
    values = np.random.default_rng(count).normal(0.5, 0.01, count)
    expected = values.mean(), values.std(ddof=1) / np.sqrt(count)
    assert mean_of(values.tolist()) == pytest.approx(expected, rel=1e-12)


def test_one_value_has_no_error_and_none_has_no_mean():
    assert mean_of([0.25])[0] == 0.25 and math.isnan(mean_of([0.25])[1])
    assert all(map(math.isnan, mean_of([])))
    assert all(map(math.isnan, mean_of([0.5, math.nan])))
