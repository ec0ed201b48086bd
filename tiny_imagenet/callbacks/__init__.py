"""Progress, pictures, averages, condition numbers, results of test and predict, and ranks that fail."""

from tiny_imagenet.callbacks.condition_numbers import ConditionNumbers
from tiny_imagenet.callbacks.ema import EMA
from tiny_imagenet.callbacks.end_together import EndTogether
from tiny_imagenet.callbacks.predictions import Predictions
from tiny_imagenet.callbacks.progress import Progress
from tiny_imagenet.callbacks.statistics import EpochStatistics
from tiny_imagenet.callbacks.testing import TestResults
from tiny_imagenet.callbacks.training_images import TrainingImages

Ranks = EndTogether  # its former name

__all__ = [
    "EMA", "ConditionNumbers", "EndTogether", "EpochStatistics", "Predictions", "Progress", "Ranks", "TestResults",
    "TrainingImages",
]  # fmt: skip
