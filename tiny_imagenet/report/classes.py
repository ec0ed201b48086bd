"""Which classes a tested run gets right, which it doesn't, and which it confuses."""

import io

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from PIL import Image

from tiny_imagenet.report.figures import SMALL, WIDTH, bars, legend_below, new_figure
from tiny_imagenet.report.runs import Run
from tiny_imagenet.report.text import class_names
from tiny_imagenet.run.bounded import read_file
from tiny_imagenet.run.result_tables import ranked

GOOD, BAD = "tab:green", "tab:red"
LARGEST_PICTURE = 20_000_000  # bytes, and pixels


def best_and_worst_classes(run: Run, n: int = 10) -> pd.DataFrame:
    """The n classes with the highest top-1 on the test images and the n with the lowest, best first.

    Fewer than 2n classes are all given, once. Ties are broken by top-5. Accuracies and precision (the share of the
    images predicted as the class that are of it) are in percent.
    """
    classes = run.per_class.dropna(subset=["images", "top1", "top5"])
    classes = classes.assign(name=classes["class_id"].map(_names(run)))
    classes = classes.iloc[ranked(classes.to_dict("records"))]
    chosen = classes if len(classes) <= 2 * n else pd.concat([classes.head(n), classes.tail(n)])
    shares = {f"{name} (%)": 100 * chosen[column] for column, name in _SHARES.items()}
    return chosen[["class_id", "name", "images", "correct"]].assign(**shares).reset_index(drop=True)


def most_confused(run: Run, n: int = 20) -> pd.DataFrame:
    """The n pairs of classes that are confused most often, counted in both directions.

    Columns: A, B (names, the one that is more often wrong first), `A predicted as B` and `B predicted as A` (test
    images), `total`, and which share of the two classes' images it is, in percent.
    """
    cells = run.confusion.dropna(subset="count")
    images = cells.groupby("target_id")["count"].sum()
    wrong = cells[cells["target_id"] != cells["predicted_id"]]
    counts = {
        (one, other): int(count)
        for one, other, count in zip(wrong["target_id"], wrong["predicted_id"], wrong["count"], strict=True)
    }
    names = _names(run)
    rows = []
    for (a, b), count in counts.items():
        back = counts.get((b, a), 0)
        if (count, b) > (back, a):  # each pair once
            total = count + back
            share = 100 * total / max(images.get(a, 0) + images.get(b, 0), 1)
            rows.append([names[a], names[b], count, back, total, share])
    columns = ["A", "B", "A predicted as B", "B predicted as A", "total", "of their images (%)"]
    pairs = pd.DataFrame(rows, columns=columns)
    return pairs.sort_values("total", ascending=False, kind="stable", ignore_index=True).head(n)


def classes_figure(run: Run, n: int = 10) -> Figure:
    """Top-1 of the best and worst classes, best on top."""
    classes = best_and_worst_classes(run, n)
    half = len(classes) // 2
    figure, axes = new_figure(WIDTH, 1 + 0.26 * len(classes))
    colours = [GOOD] * (len(classes) - half) + [BAD] * half
    bars(axes[0, 0], list(classes["name"]), colours, list(classes["top-1 (%)"]), "{:.0f}")
    axes[0, 0].set_xlabel("test top-1 (%)")
    axes[0, 0].set_xlim(0, 108)
    return figure


def confused_figure(run: Run, n: int = 15) -> Figure:
    """The most confused pairs: how many test images of each of the two were predicted as the other."""
    pairs = most_confused(run, n)
    labels = [f"{a}  ↔  {b}" for a, b in zip(pairs["A"], pairs["B"], strict=True)]
    figure, axes = new_figure(WIDTH, 1.2 + 0.28 * len(pairs))
    axis = axes[0, 0]
    bars(axis, labels, "C0", list(pairs["A predicted as B"]), None)
    places, backs = range(len(pairs)), pairs["B predicted as A"]
    back = axis.barh(places, backs, left=pairs["A predicted as B"], color="C1", height=0.7)
    axis.bar_label(back, [str(total) for total in pairs["total"]], padding=3, fontsize=SMALL)
    axis.set_xlabel("test images")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend = {"C0": "first predicted as second", "C1": "second predicted as first"}
    legend_below(figure, [Patch(color=colour, label=label) for colour, label in legend.items()])
    return figure


def examples(run: Run, width: int = 1000) -> Image.Image | None:
    """The run's examples.png, images of the best and the worst classes; None if it is missing or damaged.

    Args:
        width: in pixels, at most.
    """
    try:
        content = io.BytesIO(read_file(run.folder / "examples.png", LARGEST_PICTURE))
        with Image.open(content, formats=["PNG"]) as picture:
            if picture.width * picture.height > LARGEST_PICTURE:
                return None
            picture = picture.convert("RGB")
    except Exception:  # Pillow raises many kinds on damaged files
        return None
    picture.thumbnail((width, 10 * width), Image.Resampling.LANCZOS)
    return picture


def _names(run: Run) -> dict[str, str]:
    """Class id → the shown name, for all classes in the run's tables."""
    columns = [
        (run.per_class, "class_id", "name"),
        (run.confusion, "predicted_id", "predicted"),
        (run.confusion, "target_id", "target"),
    ]
    return class_names(
        {key: name for table, ids, names in columns for key, name in zip(table[ids], table[names], strict=True)}
    )


_SHARES = {"top1": "top-1", "top5": "top-5", "precision": "precision"}
