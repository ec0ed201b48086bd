"""The sampler against counting by hand: every image once, nothing padded, the same from any starting point."""

import numpy as np
import pytest

from tiny_imagenet.data.batches.sampler import EvalBatches, TrainBatches, batch_rows, epoch_order, step_seed


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize(("images", "batch_size"), [(10, 10), (10, 3), (1001, 100), (7, 1), (129, 128)])
def test_each_image_exactly_once_over_all_ranks(images, batch_size, world_size):
    loaders = [
        TrainBatches(images, batch_size, seed=1, position=lambda: (4, 0), rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    batches = [[request.rows for request in loader] for loader in loaders]
    assert len({len(rank) for rank in batches}) == 1, "all ranks take the same number of steps"
    assert sorted(np.concatenate([rows for rank in batches for rows in rank])) == list(range(images))
    sizes = [len(rows) for rank in batches for rows in rank]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


def test_batches_are_dealt_evenly_by_hand():
    # 10 images in batches of at most 4: three batches of 3, 3 and 4 images.
    assert [batch_rows(10, 4, k) for k in range(3)] == [slice(0, 3), slice(3, 6), slice(6, 10)]


def test_evaluation_in_order_over_two_ranks():
    first, second = (
        [request.rows.tolist() for request in EvalBatches(7, 2, rank=rank, world_size=2)] for rank in (0, 1)
    )
    assert [rows for pair in zip(first, second, strict=True) for row in pair for rows in [row]] == [
        [0], [1, 2], [3, 4], [5, 6],
    ]  # fmt: skip


def test_starting_in_the_middle_gives_the_rest_of_the_same_epoch():
    whole = list(TrainBatches(100, 8, seed=3, position=lambda: (2, 0)))
    rest = list(TrainBatches(100, 8, seed=3, position=lambda: (2, 5)))
    assert len(rest) == len(whole) - 5
    for expected, found in zip(whole[5:], rest, strict=True):
        np.testing.assert_array_equal(expected.rows, found.rows)
        assert expected.seed == found.seed


def test_order_depends_on_seed_and_epoch_only():
    np.testing.assert_array_equal(epoch_order(50, seed=1, epoch=2), epoch_order(50, seed=1, epoch=2))
    assert (epoch_order(50, seed=1, epoch=2) != epoch_order(50, seed=1, epoch=3)).any()
    assert (epoch_order(50, seed=1, epoch=2) != epoch_order(50, seed=2, epoch=2)).any()


def test_step_seeds_do_not_collide():
    seeds = {step_seed(0, epoch, batch, rank) for epoch in range(10) for batch in range(100) for rank in range(4)}
    assert len(seeds) == 4000
    assert all(0 <= seed < 2**63 for seed in seeds)
