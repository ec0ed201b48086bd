"""The classes of a tested run: best, worst, confused, and examples."""

import pytest

from tests.helpers.runs import (
    only,
    write_run,
)
from tiny_imagenet import report


@pytest.fixture
def tested(tmp_path):
    write_run(tmp_path / "name/version_0", tested=True)
    return only(report.find_runs(tmp_path).runs)


def test_best_and_worst_classes(tested):
    everything = report.best_and_worst_classes(tested, 10)
    assert everything["name"].str.split(",").str[0].tolist() == ["goldfish", "Persian cat", "Egyptian cat", "tabby"]
    assert everything["top-1 (%)"].tolist() == [100.0, 50.0, 50.0, 25.0]
    assert everything["images"].tolist() == [4, 4, 2, 4]
    # Called Persian: 2 of 4 Persian cats, 2 tabbies, 1 Egyptian.
    assert everything["precision (%)"][1] == pytest.approx(40.0)
    assert report.best_and_worst_classes(tested, 1)["top-1 (%)"].tolist() == [100.0, 25.0]


def test_most_confused_pairs_count_both_directions(tested):
    pairs = report.most_confused(tested)
    short = [[str(cell).split(",")[0] for cell in row] for row in pairs.drop(columns="of their images (%)").to_numpy()]
    assert short == [
        ["tabby", "Persian cat", "2", "2", "4"],
        ["tabby", "Egyptian cat", "1", "0", "1"],
        ["Egyptian cat", "Persian cat", "1", "0", "1"],
    ]
    assert pairs["of their images (%)"].tolist() == pytest.approx([100 * 4 / 8, 100 * 1 / 6, 100 * 1 / 6])
    assert len(report.most_confused(tested, 1)) == 1


def test_examples_are_shown_no_wider_than_asked_and_may_be_missing(tested):
    assert report.examples(tested, 300).size == (300, 450)  # 600 x 900 before
    (tested.folder / "examples.png").write_bytes(b"half a picture")
    assert report.examples(tested) is None
    (tested.folder / "examples.png").unlink()
    assert report.examples(tested) is None
