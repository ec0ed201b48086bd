"""Per-class results and confusions of predictions chosen by hand."""

import numpy as np

from tiny_imagenet.run.result_tables import confusion_cells, confusion_counts, per_class

IDS, NAMES = ["a", "b", "c"], ["ant", "bee", "cat"]
# Three ants: one correct, two predicted as bees (one of them without "ant" in its answers); one bee, correct; no cat.
TARGETS = np.array([0, 0, 0, 1])
ANSWERS = np.array([[0, 1], [1, 0], [1, 2], [1, 2]])


def test_confusion_counts():
    expected = [[1, 2, 0], [0, 1, 0], [0, 0, 0]]
    assert confusion_counts(TARGETS, ANSWERS[:, 0], 3).tolist() == expected


def test_per_class():
    ant, bee, cat = per_class(TARGETS, ANSWERS, IDS, NAMES)
    assert ant == {
        "class_id": "a", "name": "ant", "images": 3, "correct": 1, "top1": 0.333333, "top5": 0.666667, "precision": 1.0,
    }  # fmt: skip
    assert (bee["images"], bee["correct"], bee["top1"], bee["precision"]) == (1, 1, 1.0, 0.333333)
    assert (cat["images"], cat["correct"], cat["top1"], cat["top5"], cat["precision"]) == (0, 0, "", "", "")


def test_confusion_cells_largest_first_with_the_diagonal():
    cells = list(confusion_cells(confusion_counts(TARGETS, ANSWERS[:, 0], 3), IDS, NAMES))
    assert [(cell["target"], cell["predicted"], cell["count"]) for cell in cells] == [
        ("ant", "bee", 2),
        ("ant", "ant", 1),
        ("bee", "bee", 1),
    ]
    assert (cells[0]["target_id"], cells[0]["predicted_id"]) == ("a", "b")
