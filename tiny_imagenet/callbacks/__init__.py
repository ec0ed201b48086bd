"""Lightning callbacks: progress, pictures, and the files that testing and predicting leave."""

from tiny_imagenet.callbacks.evaluation import TestResults
from tiny_imagenet.callbacks.images import TrainingImages
from tiny_imagenet.callbacks.prediction import Predictions
from tiny_imagenet.callbacks.progress import EpochLines, EpochStatistics

__all__ = ["EpochLines", "EpochStatistics", "Predictions", "TestResults", "TrainingImages"]
