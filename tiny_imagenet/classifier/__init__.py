"""ImageClassifier, its metrics and its test-time views."""

from tiny_imagenet.classifier.module import ImageClassifier

__all__ = ["ImageClassifier"]
