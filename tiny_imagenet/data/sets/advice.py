"""What the user is told about the number of training images: impossible batches, few steps, unbalanced classes."""

import logging
from pathlib import Path

import numpy as np

from tiny_imagenet.data.batches.balance import imbalance
from tiny_imagenet.errors import UserError

log = logging.getLogger(__name__)

FEW_STEPS = 20  # of an epoch: recipes for large data sets then learn little
SMALL_BATCH = 16  # that of configs/photos.yaml
UNBALANCED = 3  # times as many images in the largest class as in the smallest


def require_batches(images: int, batch_size: int, devices: int) -> None:
    """Raise UserError if a device would have no full batch, or none at all in a step."""
    per_device = images // devices
    if batch_size > per_device:
        raise UserError(
            f"batch_size {batch_size} is larger than the {per_device:,} training images per device ({devices} "
            f"device(s)). Use --data.batch_size {per_device} or less, or more images."
        )
    if batch_size == 1 and images % devices:  # Larger batches may differ by an image.
        raise UserError(
            f"With batch_size 1, {images:,} images cannot be divided between {devices} devices: some would have none "
            "in the last step. Use --data.batch_size 2 or more, or another number of devices."
        )


def tell_small(steps: int, batch_size: int) -> None:
    """Log that an epoch has few steps, if smaller batches would give it more."""
    if steps < FEW_STEPS and batch_size > SMALL_BATCH:
        log.info(
            f"An epoch has only {steps} steps. Small data sets need smaller batches, more epochs, and a lower learning "
            "rate, as in configs/photos.yaml."
        )


def tell_unbalanced(labels: np.ndarray, folder: Path) -> None:
    """Log that classes have very different numbers of training images, int64 [N] labels."""
    smallest, largest = imbalance(labels)
    if largest >= UNBALANCED * smallest:
        log.info(
            f"{folder}: classes have between {smallest:,} and {largest:,} training images, and the network will favour "
            "the larger ones. To train on all equally, add --data.balance sampling (or loss)."
        )
