import math

import pytest

from tiny_imagenet.run.best_epoch import best_row


def rows(values, sizes=None):
    sizes = sizes or [None] * len(values)
    return [
        {"epoch": epoch, "val/top1": value} | ({"image_size": size} if size else {})
        for epoch, (value, size) in enumerate(zip(values, sizes, strict=True))
    ]


@pytest.mark.parametrize(
    ("values", "sizes", "mode", "best"),
    [
        ([0.1, 0.3, 0.2], None, "max", 1),
        ([0.1, 0.3, 0.2], None, "min", 0),
        ([0.3, 0.3], None, "max", 0),
        ([math.nan, 0.2, math.inf, None], None, "max", 1),
        ([0.5, 0.6, 0.2, 0.3, 0.1], [32, 32, 64, 64, 64], "max", 3),
        ([0.5, 0.6, 0.2], [32, 32, 64], "max", 2),
        ([0.5, 0.6, None], [32, 32, 64], "max", 1),
        ([0.2, 0.6, 0.4], [None, 64, 64], "max", 1),
        ([0.7, 0.6, 0.4], [None, 64, 64], "max", 0),
    ],
)
def test_best_row(values, sizes, mode, best):
    assert best_row(rows(values, sizes), "val/top1", mode)["epoch"] == best


@pytest.mark.parametrize("values", [[], [math.nan], [None]])
def test_without_a_value_there_is_no_best_row(values):
    assert best_row(rows(values), "val/top1", "max") is None
