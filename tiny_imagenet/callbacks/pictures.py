"""Pictures of a test: images of the best and worst classes, and the confusion matrix. Import late: needs matplotlib."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tiny_imagenet.data.batches.loader import IndexedImages
from tiny_imagenet.run.class_names import drawable, first_synonym
from tiny_imagenet.run.result_tables import Row, ranked


def examples_figure(
    images: IndexedImages,
    targets: np.ndarray,
    predictions: np.ndarray,
    classes: Sequence[Row],
    most: int = 5,
    examples: int = 8,
) -> Figure:
    """Test images of the best and the worst classes, a class a row.

    Wrong answers are labelled with the predicted class in red, right ones with a green check mark.

    Args:
        images: indexed by rows [n], gives uint8 [n, 3, H, W] and labels.
        targets, predictions: labels [N], in the order of the rows.
        classes: rows of `per_class`, in the order of the labels.
        most: number of best and of worst classes, at most.
        examples: images of each.
    """
    best_first = ranked(classes)
    most = min(most, len(best_first) // 2)
    chosen = best_first[:most] + best_first[-most:]
    figure = Figure(figsize=(1.5 * examples, 1.8 * len(chosen)))
    axes = figure.subplots(len(chosen), examples, squeeze=False)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=0.97, wspace=0.05, hspace=0.25)
    for row_of_axes, label in zip(axes, chosen, strict=True):
        rows = np.flatnonzero(targets == label)[:examples]
        pixels = images[rows][0].permute(0, 2, 3, 1).numpy()
        for axis in row_of_axes:
            axis.set_axis_off()
        title = (
            f"{_short(classes[label]['class_id'], classes[label]['name'], 60)}: {100 * classes[label]['top1']:.0f} %"
        )
        row_of_axes[0].set_title(title, loc="left", fontsize=11, weight="bold", parse_math=False)
        for axis, image, predicted in zip(row_of_axes, pixels, predictions[rows], strict=False):
            right = predicted == label
            text, colour = (
                ("✓", "darkgreen")
                if right
                else (_short(classes[predicted]["class_id"], classes[predicted]["name"], 20), "firebrick")
            )
            axis.imshow(image)
            axis.text(0.02, 0.98, text, fontsize=9, color=colour, weight="bold" if right else None, va="top",
                      transform=axis.transAxes, parse_math=False,
                      bbox={"facecolor": (1, 1, 1, 0.8), "edgecolor": "none", "pad": 1.5})  # fmt: skip
    return figure


def confusion_figure(counts: np.ndarray, ids: Sequence[str], names: Sequence[str]) -> Figure:
    """A confusion matrix [C, C], each row as fractions of its class; up to 30 classes are named."""
    figure = Figure(figsize=(9, 8), layout="constrained")
    axis = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure.colorbar(axis.imshow(shares, cmap="viridis", vmin=0, vmax=1), label="share of the class's images")
    axis.set(xlabel="predicted class", ylabel="true class")
    if len(names) <= 30:
        short = [_short(class_id, name, 20) for class_id, name in zip(ids, names, strict=True)]
        axis.set_xticks(range(len(short)), short, rotation=90, fontsize=7, parse_math=False)
        axis.set_yticks(range(len(short)), short, fontsize=7, parse_math=False)
    return figure


def _short(class_id: str, name: str, longest: int) -> str:
    """The first synonym of a class's name, with an ellipsis if it is longer."""
    name = first_synonym(class_id, name)
    return drawable(name if len(name) <= longest else f"{name[: longest - 1]}…")
