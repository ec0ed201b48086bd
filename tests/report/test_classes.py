"""The classes of a tested run: best, worst, confused, and examples."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from tests.helpers.runs import only, write_run
from tiny_imagenet import report
from tiny_imagenet.callbacks.pictures import examples_figure
from tiny_imagenet.report.text import class_names
from tiny_imagenet.run.result_tables import per_class


@pytest.fixture
def tested(tmp_path):
    write_run(tmp_path / "name/version_0", tested=True)
    return only(report.find_runs(tmp_path).runs)


def test_best_and_worst_classes(tested):
    everything = report.best_and_worst_classes(tested, 10)
    assert everything["name"].tolist() == ["goldfish", "Persian cat", "Egyptian cat", "tabby"]
    assert everything["top-1 (%)"].tolist() == [100.0, 50.0, 50.0, 25.0]
    assert everything["images"].tolist() == [4, 4, 2, 4]
    # Called Persian: 2 of 4 Persian cats, 2 tabbies, 1 Egyptian.
    assert everything["precision (%)"][1] == pytest.approx(40.0)
    assert report.best_and_worst_classes(tested, 1)["top-1 (%)"].tolist() == [100.0, 25.0]


def test_most_confused_pairs_count_both_directions(tested):
    pairs = report.most_confused(tested)
    assert list(pairs.columns[:5]) == ["A", "B", "A predicted as B", "B predicted as A", "total"]
    assert pairs.iloc[:, :5].to_numpy().tolist() == [
        ["tabby", "Persian cat", 2, 2, 4],
        ["tabby", "Egyptian cat", 1, 0, 1],
        ["Egyptian cat", "Persian cat", 1, 0, 1],
    ]
    assert pairs["of their images (%)"].tolist() == pytest.approx([100 * 4 / 8, 100 * 1 / 6, 100 * 1 / 6])
    assert len(report.most_confused(tested, 1)) == 1


def test_the_figures_of_classes_and_pairs(tested):
    axis = report.classes_figure(tested).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == [
        "goldfish",
        "Persian cat",
        "Egyptian cat",
        "tabby",
    ]
    good, *_, bad = axis.patches
    assert (good.get_width(), bad.get_width()) == (100, 25)
    assert (to_hex(good.get_facecolor()), to_hex(bad.get_facecolor())) == (to_hex("tab:green"), to_hex("tab:red"))
    axis = report.confused_figure(tested).axes[0]
    assert axis.get_yticklabels()[0].get_text() == "tabby  ↔  Persian cat"
    there, back = axis.containers[:2]
    assert [bar.get_width() for bar in there] == [2, 1, 1] and [bar.get_width() for bar in back] == [2, 0, 0]
    assert [bar.get_x() for bar in back] == [2, 1, 1], "one bar continues the other"


def test_examples_are_shown_no_wider_than_asked_and_may_be_missing(tested):
    assert report.examples(tested, 300).size == (300, 450)  # 600 x 900 before
    (tested.folder / "examples.png").write_bytes(b"half a picture")
    assert report.examples(tested) is None
    (tested.folder / "examples.png").unlink()
    assert report.examples(tested) is None


def test_a_class_has_its_first_synonym_with_its_id_if_another_has_it_too():
    names = {
        "n1": "crane, bird",
        "n2": "crane",
        "n3": "European fire salamander, Salamandra salamandra",
        "n4": "x" * 40,
    }
    assert class_names(names) == {
        "n1": "crane (n1)",
        "n2": "crane (n2)",
        "n3": "European fire salamander",
        "n4": "x" * 27 + "…",
    }


def test_examples_mark_right_and_wrong_answers():
    """The picture that testing leaves for the report."""
    targets, predictions = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    names = ["European fire salamander, Salamandra salamandra", "goldfish, Carassius auratus"]
    classes = list(per_class(targets, np.stack([predictions, 1 - predictions], axis=1), ["a", "b"], names))

    class Images:
        def __getitem__(self, rows):
            return torch.zeros(len(rows), 3, 8, 8, dtype=torch.uint8), None

    axes = examples_figure(Images(), targets, predictions, classes, examples=2).axes
    assert [axis.get_title(loc="left") for axis in axes[::2]] == ["goldfish: 100 %", "European fire salamander: 50 %"]
    marks = [(axis.texts[0].get_text(), axis.texts[0].get_color()) for axis in axes]
    assert marks == [("✓", "darkgreen")] * 3 + [("goldfish", "firebrick")]
