"""Unbalanced classes: their sizes, weights for the loss, and an order that draws all classes equally often."""

from typing import Literal

import numpy as np

Balance = Literal["none", "loss", "sampling"]


def imbalance(labels: np.ndarray) -> tuple[int, int]:
    """The number of images of the smallest and of the largest class, of labels int64 [N], N ≥ 1."""
    _, sizes = np.unique(labels, return_counts=True)
    return int(sizes.min()), int(sizes.max())


def class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Weights inverse to the classes' sizes, whose mean over the images is 1: float64 [classes].

    Args:
        labels: of the training images, int64 [N], in 0..classes-1. A class without images has weight 0.
    """
    sizes = np.bincount(labels, minlength=classes)
    present = np.count_nonzero(sizes)
    return np.divide(len(labels), present * sizes, out=np.zeros(classes), where=sizes > 0)


def balanced_order(labels: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """An epoch's order of images in which all classes are equally frequent: int64 [N], the same on every rank.

    Each of C classes has N / C of the N positions, rounded up for some classes, not the same in each epoch. Images of a
    small class are repeated, each as often as the others of its class or once more; some of a large class are left out,
    not the same in each epoch.

    Args:
        labels: class of each image, int64 [N].
    """
    random = np.random.default_rng([seed, epoch])
    ends = np.cumsum(np.unique(labels, return_counts=True)[1])
    of_class = np.split(np.argsort(labels, kind="stable"), ends[:-1])
    order = np.empty(len(labels), np.int64)
    for first, which in enumerate(random.permutation(len(of_class))):
        own, draws = of_class[which], len(order[first :: len(of_class)])
        rounds = [random.permutation(own) for _ in range(-(-draws // len(own)))]
        order[first :: len(of_class)] = np.concatenate(rounds)[:draws]
    return random.permutation(order)
