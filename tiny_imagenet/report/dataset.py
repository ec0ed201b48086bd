"""What a data set looks like: its images, the number in each class, and their levels."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tiny_imagenet.report.figures import SMALL, new_figure, plain

NAMED = 30  # classes whose names fit under an axis
GAP = 0.06  # between images, of their width
CHANNELS = {"red": "tab:red", "green": "tab:green", "blue": "tab:blue"}


def class_counts(labels: Mapping[str, np.ndarray], names: Sequence[str]) -> pd.DataFrame:
    """One row a class, in the order of the labels: how many images of it each set has.

    Args:
        labels: set → class labels of its images, int64 [N].
        names: of the classes.
    """
    counts = {split: np.bincount(each, minlength=len(names)) for split, each in labels.items()}
    return pd.DataFrame({"class": list(names), **counts})


def counts_figure(counts: pd.DataFrame) -> Figure:
    """Images of each class, from `class_counts`: a panel for each set. Few classes are named."""
    splits = list(counts.columns[1:])
    named = len(counts) <= NAMED
    figure, axes = new_figure(10, 1.7 * len(splits) + (1.2 if named else 0.4), len(splits), 1, sharex=True)
    for axis, split in zip(axes[:, 0], splits, strict=True):
        axis.bar(range(len(counts)), counts[split], width=0.8 if named else 1.0)
        fewest, most = counts[split].min(), counts[split].max()
        each = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"
        axis.set_title(f"{split}: {counts[split].sum():,} images, {each} of each class", fontsize=SMALL + 1, loc="left")
        axis.set_ylabel("images", fontsize=SMALL + 1)
        axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.margins(x=0.01)
        axis.grid(visible=False, axis="x")
    if named:
        axes[-1, 0].set_xticks(range(len(counts)), map(plain, counts["class"]), rotation=45, ha="right")
    else:
        axes[-1, 0].set_xlabel("class, in the order of the labels", fontsize=SMALL + 1)
    return figure


def levels_figure(images: np.ndarray) -> Figure:
    """How often each level occurs in each colour channel of uint8 images [N, H, W, 3], and their mean image.

    Clipped levels, 0 and 255, can outnumber all others, so the legend gives their shares instead.
    """
    figure, axes = new_figure(9, 3.2, 1, 2, width_ratios=[2.5, 1])
    for channel, (name, colour) in enumerate(CHANNELS.items()):
        shares = 100 * np.bincount(images[..., channel].ravel(), minlength=256) / images[..., channel].size
        label = f"{name}, at 0: {shares[0]:.1f} %, at 255: {shares[255]:.1f} %"
        axes[0, 0].plot(range(1, 255), shares[1:255], color=colour, linewidth=1.2, label=label)
    axes[0, 0].set(xlabel="level", ylabel="share of the pixels (%)", xlim=(0, 255), ylim=(0, None))
    axes[0, 0].legend(fontsize=SMALL, frameon=False)
    axes[0, 1].set_axis_off()
    axes[0, 1].imshow(images.mean(axis=0) / 255)
    axes[0, 1].set_title(f"mean of {len(images):,} images", fontsize=SMALL + 1)
    return figure


def image_rows(
    rows: Mapping[str, np.ndarray],
    columns: int = 1,
    captions: Mapping[str, Sequence[str]] | None = None,
    width: float = 10.0,
) -> Figure:
    """Images in rows under their titles.

    Args:
        rows: title → images [n, H, W, 3], uint8 levels or floats 0..1.
        columns: of rows beside one another.
        captions: title → what stands under each image of the row.
        width: of the figure, in inches.
    """
    captions = captions or {}
    most = max(map(len, rows.values()))
    side = 0.98 * width / columns / (most + GAP * (most - 1))
    tallest = max(images.shape[1] / images.shape[2] for images in rows.values())
    lines = -(-len(rows) // columns)
    height = lines * (side * tallest + (0.48 if captions else 0.3))
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(lines, columns, squeeze=False)
    # Set by hand: a constrained layout of so many axes is slow.
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.05 / height, top=1 - 0.25 / height, wspace=0.03,
                           hspace=(0.48 if captions else 0.3) / (side * tallest))  # fmt: skip
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (title, images) in zip(axes.flat, rows.items(), strict=False):
        axis.set_title(plain(title), fontsize=SMALL + 1, loc="left", pad=3)
        _draw_row(axis, images, most, captions.get(title, ()))
    return figure


def _draw_row(axis: Axes, images: np.ndarray, places: int, captions: Sequence[str]) -> None:
    """Images side by side from the left, in axes with room for `places` of them."""
    height, width = images.shape[1:3]
    step = width * (1 + GAP)
    for place, image in enumerate(images):
        axis.imshow(image, extent=(place * step, place * step + width, height, 0))
    for place, caption in enumerate(captions):
        axis.text(place * step + width / 2, height * 1.04, plain(caption), fontsize=SMALL, ha="center", va="top")
    axis.set(xlim=(0, places * step - width * GAP), ylim=(height, 0), anchor="NW")
