"""The names of metrics: the columns of metrics.csv, the tags of TensorBoard, and what a config may watch.

`classifier/metrics.py` computes what STAGES lists. A new metric needs a line in each of the two files.
"""

# By stage. Top-k accuracies are fractions of 1.
STAGES = {
    "train": ("loss", "top1"),
    "val": ("loss", "top1", "top5"),
    "test": ("loss", "top1", "top5"),
}

# Of each training epoch, by the callback EpochStatistics: learning rate, seconds, images/s, and peak memory in MiB.
STATISTICS = ("lr", "seconds", "images_per_s", "memory")

# Also of each epoch of a run with `progressive`: the side in pixels of the validation images.
IMAGE_SIZE = "image_size"

# What is logged of each epoch; a user's callback may log more.
OF_EPOCH = tuple(f"{stage}/{name}" for stage in ("train", "val") for name in STAGES[stage]) + STATISTICS


def shown(name: str) -> str:
    """A metric's name for readers: top1 as top-1."""
    return f"top-{name.removeprefix('top')}" if is_accuracy(name) else name


def is_accuracy(name: str) -> bool:
    """Whether a metric is an accuracy, a fraction of 1 that is shown in percent."""
    return name.rpartition("/")[2].startswith("top")


def is_learning_rate(name: str) -> bool:
    """Whether Lightning's LearningRateMonitor logs it."""
    return name.startswith("lr-")
