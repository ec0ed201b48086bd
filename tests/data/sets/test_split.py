"""The holdout: stratified, seeded, exact; and the choice of classes."""

import numpy as np
import pytest

from tiny_imagenet.data.sets.split import choose_classes, split_holdout
from tiny_imagenet.data.sets.tiny_imagenet_layout import Classes
from tiny_imagenet.errors import UserError


def names(count: int) -> list[str]:
    return [f"class/{number}.png" for number in range(count)]


CLASSES = Classes(("n1", "n2", "n3"), ("ant", "bee", "cat"))


@pytest.mark.parametrize(("holdout", "expected"), [(100, 100), (0.1, 100), (7, 7), (0.25, 250)])
def test_holdout_is_stratified_and_disjoint(holdout, expected):
    labels = np.repeat(np.arange(20), 50)
    train, held_out = split_holdout(names(1000), labels, holdout)
    assert len(held_out) == expected
    assert sorted(np.concatenate([train, held_out])) == list(range(1000))
    counts = np.bincount(labels[held_out], minlength=20)
    assert counts.max() - counts.min() <= 1


def test_holdout_in_proportion_to_unequal_classes():
    labels = np.repeat([0, 1, 2], [100, 200, 700])
    assert np.bincount(labels[split_holdout(names(1000), labels, 50)[1]]).tolist() == [5, 10, 35]


def test_holdout_is_the_same_each_time_and_not_the_first_images():
    labels = np.repeat(np.arange(4), 100)
    held_out = split_holdout(names(400), labels, 40)[1]
    np.testing.assert_array_equal(split_holdout(names(400), labels, 40)[1], held_out)
    assert held_out[:10].tolist() != list(range(10))


def test_one_more_image_moves_almost_no_others():
    """Otherwise a test after an image was added would be on images that were trained on."""
    labels = np.repeat(np.arange(3), 100)
    before = split_holdout(names(300), labels, 0.1)[1]
    for place in (0, 150, 300):
        more_names = names(300)
        more_names.insert(place, "class/new.png")
        more_labels = np.insert(labels, place, min(place // 100, 2))
        after = split_holdout(more_names, more_labels, 0.1)[1]
        moved = {more_names[row] for row in after} ^ {names(300)[row] for row in before}
        assert len(moved) <= 2, moved


@pytest.mark.parametrize("holdout", [1000, 5000, 0.0001, 1.0, -1])
def test_holdout_of_all_or_nothing_is_refused(holdout):
    with pytest.raises(UserError, match=f"holdout {holdout}"):
        split_holdout(names(1000), np.repeat(np.arange(20), 50), holdout)


def test_choosing_classes():
    assert choose_classes(CLASSES, None) == CLASSES
    assert choose_classes(CLASSES, 2) == Classes(("n1", "n2"), ("ant", "bee"))
    assert choose_classes(CLASSES, ["n3", "n1"]) == Classes(("n1", "n3"), ("ant", "cat")), "sorted, whatever the order"


def test_ids_that_yaml_reads_as_integers_are_text():
    digits = Classes(("0", "1", "10", "2"), ("zero", "one", "ten", "two"))
    assert choose_classes(digits, [10, "0"]) == Classes(("0", "10"), ("zero", "ten"))
    with pytest.raises(UserError, match=r"classes: there is no class '3' among the 4\. Choose from: 0, 1, 10, 2\."):
        choose_classes(digits, [0, 3])


@pytest.mark.parametrize("chosen", [1, 4, ["n1"], ["n1", "n1"], ["n1", "nothing"]])
def test_classes_that_cannot_be_chosen(chosen):
    with pytest.raises(UserError, match="classes"):
        choose_classes(CLASSES, chosen)
