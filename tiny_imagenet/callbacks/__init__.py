"""Lightning callbacks: progress, pictures, and the files that testing and predicting leave."""

from tiny_imagenet.callbacks.conditions import ConditionNumbers
from tiny_imagenet.callbacks.evaluation import TestResults
from tiny_imagenet.callbacks.images import TrainingImages
from tiny_imagenet.callbacks.prediction import Predictions
from tiny_imagenet.callbacks.progress import EpochLines, EpochStatistics

__all__ = ["ConditionNumbers", "EpochLines", "EpochStatistics", "Predictions", "TestResults", "TrainingImages"]
