"""Weights and orders for unbalanced classes, counted by hand."""

import numpy as np
import pytest
from PIL import Image

from tiny_imagenet.data import ImageFolderDataModule
from tiny_imagenet.data.batches.balance import balanced_order, class_weights, imbalance
from tiny_imagenet.data.batches.sampler import TrainBatches, step_seed

SIZES = (2, 5, 23)
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], SIZES))


def test_the_sizes_of_the_smallest_and_of_the_largest_class():
    assert imbalance(LABELS) == (2, 23)
    assert imbalance(np.array([7, 7])) == (2, 2)


def test_weights_are_inverse_to_sizes_and_their_mean_over_the_images_is_1():
    assert class_weights(np.array([0, 1, 1, 1]), 2).tolist() == [2, 2 / 3]
    assert class_weights(np.array([0, 0, 2, 2]), 3).tolist() == [1, 0, 1]
    weights = class_weights(LABELS, 3)
    np.testing.assert_allclose(weights * SIZES, [10, 10, 10])
    assert weights[LABELS].mean() == pytest.approx(1)


def test_classes_are_equally_frequent_and_so_are_the_images_of_a_small_one():
    order = balanced_order(LABELS, seed=1, epoch=2)
    times = np.bincount(order, minlength=30)
    assert np.bincount(LABELS[order]).tolist() == [10, 10, 10]
    assert set(times[LABELS == 0]) == {5} and set(times[LABELS == 1]) == {2} and set(times[LABELS == 2]) == {0, 1}


def test_what_does_not_divide_evenly_goes_to_other_classes_and_images_each_epoch():
    labels = np.append(LABELS, 0)  # 31 images
    orders = [balanced_order(labels, seed=1, epoch=epoch) for epoch in range(60)]
    counts = np.array([np.bincount(labels[order]) for order in orders])
    assert (np.sort(counts, axis=1) == [10, 10, 11]).all()
    assert (counts == 11).any(axis=0).all()
    times = sum(np.bincount(order, minlength=31) for order in orders)
    assert times[labels == 2].min() > 0, "no image is left out for good"
    small = np.bincount(orders[0], minlength=31)[labels == 0]
    assert small.max() - small.min() <= 1


def test_the_order_depends_on_seed_and_epoch_only():
    order = balanced_order(LABELS, seed=1, epoch=2)
    np.testing.assert_array_equal(order, balanced_order(LABELS, seed=1, epoch=2))
    assert (order != balanced_order(LABELS, seed=1, epoch=3)).any()
    assert (order != balanced_order(LABELS, seed=2, epoch=2)).any()


def test_small_classes_are_spread_over_the_epoch():
    labels = np.repeat([0, 1], [30, 3000])
    drawn = labels[balanced_order(labels, seed=0, epoch=0)]
    assert all(half.mean() == pytest.approx(0.5, abs=0.05) for half in np.split(drawn, 2))
    assert drawn[::2].mean() == pytest.approx(0.5, abs=0.05), "and do not take turns"


def requests(batch_size, rank=0, world_size=1, first=0):
    return list(TrainBatches(len(LABELS), batch_size, 3, lambda: (4, first), rank, world_size, labels=LABELS))


def test_two_ranks_draw_together_what_one_draws():
    one, pair = requests(10), [requests(5, rank, 2) for rank in (0, 1)]
    assert len(one) == len(pair[0]) == len(pair[1]) == 3
    for whole, *parts in zip(one, *pair, strict=True):
        np.testing.assert_array_equal(whole.rows, np.concatenate([part.rows for part in parts]))


def test_starting_in_the_middle_gives_the_rest_of_the_same_epoch():
    for expected, found in zip(requests(4)[5:], requests(4, first=5), strict=True):
        np.testing.assert_array_equal(expected.rows, found.rows)
        assert expected.seed == found.seed


def test_without_labels_each_image_is_visited_once_in_the_order_of_earlier_versions():
    batches = list(TrainBatches(100, 30, 3, lambda: (4, 0)))
    np.testing.assert_array_equal(
        np.concatenate([each.rows for each in batches]), np.random.default_rng([3, 4]).permutation(100)
    )
    assert [each.seed for each in batches] == [step_seed(3, 4, batch, 0) for batch in range(4)]


@pytest.fixture
def unbalanced(tmp_path):
    """A folder of 40 and 8 training images, and 4 and 4 to validate on."""
    for folder, number in (("train/cat", 40), ("train/dog", 8), ("val/cat", 4), ("val/dog", 4)):
        (tmp_path / folder).mkdir(parents=True)
        for name in range(number):
            Image.new("RGB", (8, 8), (name, 0, 0)).save(tmp_path / folder / f"{name}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("balance", "drawn", "weights"),
    [("none", [40, 8], None), ("loss", [40, 8], [0.6, 3]), ("sampling", [24, 24], None)],
)
def test_a_data_module_balances_training_only(unbalanced, caplog, balance, drawn, weights):
    data = ImageFolderDataModule(str(unbalanced), image_size=8, batch_size=16, balance=balance)
    with caplog.at_level("INFO"):
        data.setup("fit")
        batches = list(data.train_dataloader())
    assert np.bincount(np.concatenate([batch.targets for batch in batches])).tolist() == drawn
    assert len(batches) == data.steps_per_epoch == 3
    assert (None if weights is None else pytest.approx(weights)) == data.loss_weights
    assert np.concatenate([batch.targets for batch in data.val_dataloader()]).tolist() == [0] * 4 + [1] * 4
    told = "classes have between 8 and 40 training images, and the network will favour the larger ones"
    assert (told in caplog.text) == (balance == "none")
