"""Lightning callbacks: progress, pictures, and the files that testing and predicting leave."""

from tiny_imagenet.callbacks.conditions import ConditionNumbers
from tiny_imagenet.callbacks.ema import EMA
from tiny_imagenet.callbacks.evaluation import TestResults
from tiny_imagenet.callbacks.images import TrainingImages
from tiny_imagenet.callbacks.prediction import Predictions
from tiny_imagenet.callbacks.progress import EpochLines, EpochStatistics, StepBar
from tiny_imagenet.callbacks.ranks import Ranks

__all__ = [
    "EMA", "ConditionNumbers", "EpochLines", "EpochStatistics", "Predictions", "Ranks", "StepBar", "TestResults",
    "TrainingImages",
]  # fmt: skip
