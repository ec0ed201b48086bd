"""The tables that testing leaves: accuracy of each class, and which classes are confused. The columns of trials.csv."""

from collections.abc import Iterator, Sequence

import numpy as np

Row = dict[str, str | int | float]

# Of per_class.csv and confusion.csv.
PER_CLASS_COLUMNS = ("class_id", "name", "images", "correct", "top1", "top5", "precision")
CONFUSION_COLUMNS = ("target_id", "target", "predicted_id", "predicted", "count")

# Of trials.csv, before and after those of the options that the sweep varies and of the seed.
BEFORE_POINT, AFTER_POINT = ("number", "state", "value"), ("run", "seconds", "reason")


def confusion_counts(targets: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """The confusion matrix int64 [classes, classes], true classes in rows, from labels [N] and predictions [N]."""
    return np.bincount(targets * classes + predictions, minlength=classes * classes).reshape(classes, classes)


def per_class(targets: np.ndarray, answers: np.ndarray, ids: Sequence[str], names: Sequence[str]) -> Iterator[Row]:
    """One row a class, in the order of the labels.

    Args:
        targets: labels, int64 [N].
        answers: each image's best predictions, best first, int64 [N, K].
        ids, names: of the classes, [C].

    Yields:
        class_id, name, images, correct, top1 and top5 (fractions of the class's images; top5 of the first 5 answers),
        and precision (fraction of the images predicted as the class that are of it); fractions of 0 are left empty.
    """
    counts = confusion_counts(targets, answers[:, 0], len(ids))
    images = counts.sum(axis=1)
    among_five = np.bincount(targets[(answers[:, :5] == targets[:, None]).any(axis=1)], minlength=len(ids))
    for label, (class_id, name) in enumerate(zip(ids, names, strict=True)):
        correct = int(counts[label, label])
        yield {
            "class_id": class_id,
            "name": name,
            "images": int(images[label]),
            "correct": correct,
            "top1": _fraction(correct, images[label]),
            "top5": _fraction(among_five[label], images[label]),
            "precision": _fraction(correct, counts[:, label].sum()),
        }


def ranked(classes: Sequence[Row]) -> list[int]:
    """Indices of the rows of `per_class` that have images, from the best top-1 to the worst; equal ones by top-5."""
    tested = [place for place, row in enumerate(classes) if row["images"]]
    return sorted(tested, key=lambda place: (classes[place]["top1"], classes[place]["top5"]), reverse=True)


def confusion_cells(counts: np.ndarray, ids: Sequence[str], names: Sequence[str]) -> Iterator[Row]:
    """The nonzero cells of a confusion matrix [C, C], the diagonal included, the largest first."""
    cells = np.argwhere(counts)
    for target, predicted in cells[np.argsort(-counts[tuple(cells.T)], kind="stable")]:
        yield {
            "target_id": ids[target],
            "target": names[target],
            "predicted_id": ids[predicted],
            "predicted": names[predicted],
            "count": int(counts[target, predicted]),
        }


def _fraction(part: int, whole: int) -> float | str:
    return round(float(part / whole), 6) if whole else ""
