"""What counts as the same answer, and as an accurate file."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from tests.helpers.networks import classifier
from tiny_imagenet.data.batches.pipeline import BatchPipeline
from tiny_imagenet.errors import UserError
from tiny_imagenet.export import check
from tiny_imagenet.export.check import Agreement, compare, require_accuracy, require_same
from tiny_imagenet.export.network import ExportedNetwork
from tiny_imagenet.export.source import Source


@pytest.fixture
def source(tmp_path):
    return Source(tmp_path / "x.ckpt", None, classifier(), BatchPipeline(32, None, [], None), None, "no data")


@pytest.fixture
def network(source):
    """The network as a file would answer, and the batches that it was asked for."""
    exported, asked = ExportedNetwork(source.classifier, source.pipeline), []

    def run(images: np.ndarray) -> np.ndarray:
        asked.append(images.shape)
        with torch.no_grad():
            return exported(torch.tensor(images)).numpy()

    return run, asked


def test_three_sizes_in_batches_of_three_sizes(source, network):
    run, asked = network
    found = list(compare(source, run))
    assert [each[:4] for each in found] == [(32, 32, 408, 408), (80, 54, 408, 408), (19, 29, 408, 408)]
    assert max(each.difference for each in found) < 1e-5
    assert asked == [(size, 3, *each[:2]) for each in found for _ in range(3) for size in (1, 7, 128)]


def test_another_class_counts_unless_it_is_tied(source, network, monkeypatch):
    run, _ = network

    # Half of each batch of 128 with the two best classes exchanged: 3 · 64 images at each size.
    def exchanged(images: np.ndarray) -> np.ndarray:
        found = run(images)
        for row in found[64:128]:
            second, first = row.argsort()[-2:]
            row[[second, first]] = row[[first, second]]
        return found

    native = next(compare(source, exchanged))
    assert native.same < 408 - 3 * 64 + 5, "few are tied"
    assert native.difference > 0.1
    monkeypatch.setattr(check, "TIE", 1.0)
    assert next(compare(source, exchanged)).same == 408


def test_at_the_native_size_all_must_be_the_same_elsewhere_99_of_100():
    require_same(Agreement(32, 32, 400, 400, 0.0), native=True)
    require_same(Agreement(64, 64, 400, 396, 0.1), native=False)
    for native, same in ((True, 399), (False, 395)):
        with pytest.raises(UserError, match=f"was not kept. 64×64 pixels: the same class for {same} of 400 images"):
            require_same(Agreement(64, 64, 400, same, 0.1), native)


def test_the_accuracy_may_fall_by_half_a_point(source, network):
    run, _ = network
    images = torch.randint(0, 256, (1000, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.from_numpy(source.probabilities(images).argmax(axis=1))  # all are right
    source.data = SimpleNamespace(sets={"test": TensorDataset(images, labels)})

    def wrong(count: int):
        """A file that is wrong about the last images."""
        left = iter(range(1000, 0, -1))

        def answer(images: np.ndarray) -> np.ndarray:
            return np.stack([np.roll(row, next(left) <= count) for row in run(images)])

        return answer

    assert require_accuracy(source, wrong(5)) == "top-1 99.50 % on 1,000 test images, 100.00 % before"
    with pytest.raises(
        UserError, match="was not kept: top-1 99.40 % on 1,000 test images, 100.00 % before; it may fal"
    ):
        require_accuracy(source, wrong(6))
