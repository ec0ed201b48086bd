"""Which classes a tested run gets right, which it doesn't, and which it takes for one another."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from tiny_imagenet.report.figures import SMALL, bars, new_figure
from tiny_imagenet.report.runs import Run
from tiny_imagenet.run.result_tables import ranked

GOOD, BAD = "tab:green", "tab:red"
NAME_LENGTH = 28


def best_and_worst_classes(run: Run, n: int = 10) -> pd.DataFrame:
    """The n classes with the highest top-1 on the test images and the n with the lowest, best first.

    Fewer than 2n classes are all given, once. Ties are broken by top-5. Accuracies and precision (of the images called
    so, the share that is) are in percent.
    """
    classes = run.per_class.dropna(subset="top1")
    classes = classes.iloc[ranked(classes.to_dict("records"))]
    chosen = classes if len(classes) <= 2 * n else pd.concat([classes.head(n), classes.tail(n)])
    shares = {f"{name} (%)": 100 * chosen[column] for column, name in _SHARES.items()}
    return chosen[["class_id", "name", "images", "correct"]].assign(**shares).reset_index(drop=True)


def most_confused(run: Run, n: int = 20) -> pd.DataFrame:
    """The n pairs of classes that are most often taken for one another, in either direction together.

    Columns: one, other (names, the one more often mistaken first), `one as other` and `other as one` (test images),
    `together`, and which share `together` is of the two classes' images, in percent.
    """
    cells = run.confusion.dropna(subset="count")
    images = cells.groupby("target_id")["count"].sum()
    wrong = cells[cells["target_id"] != cells["predicted_id"]]
    counts = {
        (one, other): int(count)
        for one, other, count in zip(wrong["target_id"], wrong["predicted_id"], wrong["count"], strict=True)
    }
    names = dict(zip(cells["predicted_id"], cells["predicted"], strict=True))
    names |= dict(zip(cells["target_id"], cells["target"], strict=True))
    rows = []
    for (one, other), count in counts.items():
        back = counts.get((other, one), 0)
        if (count, other) > (back, one):  # each pair once
            rows.append(
                {
                    "one": names[one],
                    "other": names[other],
                    "one as other": count,
                    "other as one": back,
                    "together": count + back,
                    "of their images (%)": 100 * (count + back) / (images.get(one, 0) + images.get(other, 0)),
                }
            )
    columns = ["one", "other", "one as other", "other as one", "together", "of their images (%)"]
    pairs = pd.DataFrame(rows, columns=columns)
    return pairs.sort_values("together", ascending=False, kind="stable", ignore_index=True).head(n)


def classes_figure(run: Run, n: int = 10) -> Figure:
    """Top-1 of the best and worst classes, best on top."""
    classes = best_and_worst_classes(run, n)
    half = len(classes) // 2
    figure, axes = new_figure(8, 1 + 0.26 * len(classes))
    colours = [GOOD] * (len(classes) - half) + [BAD] * half
    bars(axes[0, 0], [_short(name) for name in classes["name"]], colours, list(classes["top-1 (%)"]), "{:.0f}")
    axes[0, 0].set_xlabel("test top-1 (%)")
    axes[0, 0].set_xlim(0, 108)
    return figure


def confused_figure(run: Run, n: int = 15) -> Figure:
    """The most confused pairs: how many test images of each of the two were taken for the other."""
    pairs = most_confused(run, n)
    labels = [f"{_short(one)}  ↔  {_short(other)}" for one, other in zip(pairs["one"], pairs["other"], strict=True)]
    figure, axes = new_figure(9, 1 + 0.28 * len(pairs))
    axis = axes[0, 0]
    bars(axis, labels, "C0", list(pairs["one as other"]), None)
    back = axis.barh(range(len(pairs)), pairs["other as one"], left=pairs["one as other"], color="C1", height=0.7)
    axis.bar_label(back, [str(count) for count in pairs["together"]], padding=3, fontsize=SMALL)
    legend = ["first taken for second", "second taken for first"]
    figure.legend(axis.containers[:2], legend, loc="outside upper right", ncols=2, fontsize=SMALL, frameon=False)
    axis.set_xlabel("test images")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def examples(run: Run, width: int = 1000) -> Image.Image | None:
    """The picture that testing left of the best and the worst classes' images, None if there is none.

    Args:
        width: in pixels, at most.
    """
    try:
        with Image.open(run.folder / "examples.png") as picture:
            picture = picture.convert("RGB")
    except OSError:
        return None
    picture.thumbnail((width, 10 * width), Image.Resampling.LANCZOS)
    return picture


_SHARES = {"top1": "top-1", "top5": "top-5", "precision": "precision"}


def _short(name: str) -> str:
    name = str(name).split(",")[0]  # WordNet gives several names of a class
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"
