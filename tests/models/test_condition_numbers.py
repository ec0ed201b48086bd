"""Condition numbers against numpy.linalg.cond and matrices of known singular values."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from tiny_imagenet.models.condition_numbers import condition_numbers, weights_of


def with_singular_values(values: list[float], rows: int, columns: int) -> torch.Tensor:
    """A float32 matrix [rows, columns] of these singular values, between random rotations."""
    random = np.random.default_rng(0)
    left = np.linalg.qr(random.normal(size=(rows, len(values))))[0]
    right = np.linalg.qr(random.normal(size=(columns, len(values))))[0]
    return torch.tensor(left * values @ right.T, dtype=torch.float32)


@pytest.mark.parametrize("shape", [(16, 8, 3, 3), (64, 3, 7, 7), (64, 4, 1, 1), (32, 32, 1, 1), (10, 64), (64, 10)])
def test_against_numpy(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = np.linalg.cond(weight.reshape(shape[0], -1).double().numpy())
    assert condition_numbers({"a": weight}) == {"a": pytest.approx(expected, rel=1e-6)}


@pytest.mark.parametrize("condition", [1.0, 3.0, 1e3, 5e4])
def test_known_singular_values(condition):
    weight = with_singular_values(np.geomspace(condition, 1, 20), 20, 45)
    assert condition_numbers({"a": weight})["a"] == pytest.approx(condition, rel=2e-2)
    assert condition_numbers({"a": weight})["a"] == pytest.approx(np.linalg.cond(weight.double().numpy()), rel=1e-3)


@pytest.mark.parametrize(
    "weight",
    [
        with_singular_values([3.0, 2.0, 1.0], 8, 20),  # rank 3, rounded to float32
        torch.ones(4, 6),
        torch.zeros(3, 3, 3, 3),
        torch.stack([torch.eye(3), torch.zeros(3, 3)]),  # one of two groups has died
    ],
)
def test_rank_deficient_is_infinite(weight):
    assert condition_numbers({"a": weight})["a"] == math.inf


def test_rank_agrees_with_numpy_around_its_tolerance():
    for smallest in (1e-4, 1e-5, 1e-6, 1e-7, 1e-8):
        weight = torch.diag(torch.tensor([1.0] * 15 + [smallest]))
        full = np.linalg.matrix_rank(weight.numpy()) == 16
        assert math.isfinite(condition_numbers({"a": weight})["a"]) == full, smallest


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite(value):
    assert math.isnan(condition_numbers({"a": torch.full((4, 6), value)})["a"])


def test_grouped_convolution_is_block_diagonal():
    network = nn.Sequential(nn.Conv2d(8, 12, 3, groups=4))
    weight = network[0].weight.detach().double().numpy()  # [12, 2, 3, 3]: groups of 3 filters on 2 channels
    whole = np.zeros((12, 8 * 9))
    for filter in range(12):
        group = filter // 3
        whole[filter, group * 18 : (group + 1) * 18] = weight[filter].ravel()
    assert condition_numbers(weights_of(network)) == {"0": pytest.approx(np.linalg.cond(whole), rel=1e-6)}


def test_weights_of_names_convolutions_and_linear_layers_only():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Sequential(nn.ReLU(), nn.Linear(8, 2)))
    weights = weights_of(network)
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == {"0": (8, 3, 3, 3), "2.1": (2, 8)}
    assert not any(weight.requires_grad for weight in weights.values())
