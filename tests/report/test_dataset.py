"""Pictures of a data set: expected counts and shares by hand."""

import numpy as np
import pytest

from tiny_imagenet import report


def test_class_counts_of_each_set():
    labels = {"train": np.array([0, 2, 2, 0, 2]), "test": np.array([0])}
    counts = report.class_counts(labels, ["ant", "bee", "cat"])
    assert counts.to_dict("list") == {"class": ["ant", "bee", "cat"], "train": [2, 0, 3], "test": [1, 0, 0]}


@pytest.mark.parametrize("classes", [3, 200])
def test_counts_are_drawn_for_each_set(classes):
    labels = {"train": np.append(np.arange(classes), 0), "val": np.arange(classes)}
    figure = report.counts_figure(report.class_counts(labels, [f"class {n}" for n in range(classes)]))
    train, val = figure.axes
    assert train.get_title(loc="left") == f"train: {classes + 1} images, 1 to 2 of each class"
    assert val.get_title(loc="left") == f"val: {classes} images, 1 of each class"
    assert [bar.get_height() for bar in train.patches] == [2] + [1] * (classes - 1)
    names = [label.get_text() for label in val.get_xticklabels()]
    assert ("class 2" in names) == (classes == 3)


def test_levels_are_shares_of_each_channel():
    images = np.zeros((2, 1, 2, 3), np.uint8)
    images[..., 0] = [[[7, 7]], [[7, 255]]]
    images[..., 1] = 8
    histogram, mean = report.levels_figure(images).axes
    red, green, blue = (line.get_ydata() for line in histogram.lines)
    assert (red[7 - 1], red.sum(), green[8 - 1], blue.sum()) == (75, 75, 100, 0)
    assert [line.get_label() for line in histogram.lines] == [
        "red, at 0: 0.0 %, at 255: 25.0 %",
        "green, at 0: 0.0 %, at 255: 0.0 %",
        "blue, at 0: 100.0 %, at 255: 0.0 %",
    ]
    assert mean.images[0].get_array()[0, :, 0].tolist() == pytest.approx([7 / 255, 131 / 255])


@pytest.mark.parametrize("columns", [1, 2])
def test_rows_of_images_stand_under_their_titles(columns):
    rows = {name: np.full((count, 6, 4, 3), 50 * count, np.uint8) for name, count in (("a", 3), ("b", 1), ("c", 2))}
    figure = report.image_rows(rows, columns, captions={"c": ["left", "right"]})
    drawn = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title(loc="left") for axis in drawn] == ["a", "b", "c"]
    assert [len(axis.images) for axis in drawn] == [3, 1, 2]
    assert [image.get_array().max() for image in drawn[2].images] == [100, 100]
    assert [[text.get_text() for text in axis.texts] for axis in drawn] == [[], [], ["left", "right"]]
    places = [image.get_extent() for image in drawn[0].images]
    assert [(right - left, bottom - top) for left, right, bottom, top in places] == [(pytest.approx(4), 6)] * 3
    assert places[1][0] > places[0][1] and places[2][1] <= drawn[0].get_xlim()[1] + 1e-9
    assert [text.get_text() for text in drawn[2].texts] == ["left", "right"]
    assert [axis.get_subplotspec().rowspan.start for axis in drawn] == ([0, 1, 2] if columns == 1 else [0, 0, 1])
