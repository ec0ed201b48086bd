"""The splits of a folder of class folders: which folder is which, their classes, and where they are packed."""

import hashlib
import logging
import os
import re
import shlex
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tiny_imagenet.data.images.scan import ImageFiles, images_below, scan_classes
from tiny_imagenet.data.sets.folder_content import DEEPEST, Content, has_class_folders, has_loose_images
from tiny_imagenet.errors import UserError, legible, some

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
# Such as Training, test_set, valid, seg_train and asl_alphabet_test.
SPLIT_NAME = re.compile(
    r"(?P<prefix>.*[-_ ])?(?:(?P<train>train|training)|(?P<val>val|valid|validation)|(?P<test>test|testing|evaluation))"
    r"(?:[-_ ]?(?:set|data|dataset|images))?",
    re.IGNORECASE | re.DOTALL,
)


class Split(NamedTuple):
    """A folder of class folders: its classes' ids, and the folder of each in the same order.

    An id is the folder's name, except for characters that are no text; see `legible`.
    """

    folder: Path
    classes: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path, names: Sequence[str]) -> "Split":
        """Raises UserError if two folders have the same id."""
        classes = tuple(map(legible, names))
        if twice := [class_id for class_id, number in Counter(classes).items() if number > 1]:
            raise UserError(f"{folder} has several folders that would be the class {some(twice)}. Rename one of them.")
        return cls(folder, classes, tuple(names))


def find_splits(root: Path, named: Collection[str] = ()) -> dict[str, Split]:
    """The existing splits: root/train/, val/ and test/, or root itself as `train`.

    Splits may have other usual names (Training, test_set, seg_train), and they or their class folders may be in a lone
    folder. A train/ that has only images is a class. What is unusual and what is left out is logged.

    Args:
        named: ids of folders that the user says are classes.

    Raises:
        UserError: there is no class folder with images, or only one; or all class folders have the same sub-folders,
            and so look like splits.
    """
    top, content, folders = _innermost(root, named)
    if folders:
        splits = {"train": _split(folders["train"])}
        splits |= {split: _split(path, splits["train"].names) for split, path in folders.items()}
        _tell_splits(root, {split: found.folder for split, found in splits.items()})
        if others := [name for name in content.classes if top / name not in folders.values()]:
            log.info(f"{top}: ignored {some(others)}; the splits are called {', '.join(SPLITS)}.")
    else:
        _require_no_splits(top, content.classes, named)
        _tell_siblings(top)
        splits = {"train": Split.of(top, content.classes)}
        if top != root:
            log.info(f"{root}: the class folders are in {top}.")
    ways = [(root, top), *((folders.get(split, top), found.folder) for split, found in splits.items())]
    for folder in dict.fromkeys(folder for outer, inner in ways for folder in _way(outer, inner)):
        Content.of(folder).tell_left_out(folder)
    train = splits["train"]
    if not train.classes:
        raise UserError(f"{train.folder} has no folders of images. It should have one folder of images per class.")
    if len(train.classes) < 2:
        raise UserError(f"{train.folder} has only one class folder, {train.classes[0]}; at least two are needed.")
    return splits


def scan_split(split: Split, class_ids: Sequence[str], train_ids: Collection[str]) -> ImageFiles:
    """The images of some classes of a split, labelled by position in `class_ids`.

    It is logged which classes have none, and how many images are of classes that are not in `train_ids`.

    Raises:
        UserError: no class has images.
    """
    name_of = dict(zip(split.classes, split.names, strict=True))
    present = [class_id for class_id in class_ids if class_id in name_of]
    if not present:
        raise UserError(
            f"{split.folder} has no images of any training class: it has {some(split.classes)}, but the classes are "
            f"{some(class_ids)}. All splits need the same class folders. (For Tiny ImageNet's own layout use --data "
            "TinyImageNetDataModule; for images without labels, predict --data.images FOLDER.)"
        )
    if extra := [class_id for class_id in split.classes if class_id not in train_ids]:
        counts = [f"{class_id} ({_images_in(split.folder / name_of[class_id]):,})" for class_id in extra]
        log.info(f"{split.folder}: left out the images of classes that the training split lacks: {some(counts)}.")
    if lacking := [class_id for class_id in class_ids if class_id not in name_of]:
        log.info(f"{split.folder}: no images of {some(lacking)}; accuracy is of the other {len(present)} classes.")
    files = scan_classes(split.folder, [name_of[class_id] for class_id in present])
    places = {class_id: place for place, class_id in enumerate(class_ids)}
    label_of = np.array([places[class_id] for class_id in present])
    return replace(files, class_ids=tuple(class_ids), labels=label_of[files.labels])


def _innermost(root: Path, named: Collection[str]) -> tuple[Path, Content, dict[str, Path]]:
    """The folder of splits or classes, which is root or a lone folder in it; what it has; and its splits."""
    folder = root
    for depth in range(DEEPEST + 1):
        content = Content.of(folder)
        splits = {} if set(named) & set(map(legible, content.classes)) else _named_splits(folder, content.classes)
        lone = _lone(folder, content)
        if splits or lone is None or depth == DEEPEST:
            break
        folder = lone
    return folder, content, splits


def _split(folder: Path, known: Collection[str] = ()) -> Split:
    """The class folders of a split, which may be in a lone folder in it that is not of a known class."""
    for depth in range(DEEPEST + 1):
        content = Content.of(folder)
        lone = _lone(folder, content)
        if lone is None or lone.name in known or depth == DEEPEST:
            break
        folder = lone
    return Split.of(folder, content.classes)


def _way(outer: Path, inner: Path) -> list[Path]:
    """The folders from `outer` down to `inner`, both included."""
    parts = inner.relative_to(outer).parts
    return [outer.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]


def _lone(folder: Path, content: Content) -> Path | None:
    """The only folder of images in a folder, if it has class folders."""
    if len(content.classes) != 1 or has_loose_images(folder):
        return None
    lone = folder / content.classes[0]
    return lone if has_class_folders(lone) else None


def _named_splits(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """The folders that are splits by their names and have class folders; {} without one to train on."""
    by_prefix: dict[str, dict[str, list[str]]] = {}
    for name in names:
        if match := SPLIT_NAME.fullmatch(name):
            found = by_prefix.setdefault((match["prefix"] or "").lower(), {})
            found.setdefault(match.lastgroup, []).append(name)
    for prefix, found in sorted(by_prefix.items()):
        deep = {split: [name for name in found.get(split, ()) if has_class_folders(folder / name)] for split in SPLITS}
        splits = {split: folder / _one_of(folder, split, those) for split, those in deep.items() if those}
        # A class may be called steam_train.
        if "train" in splits and (not prefix or len(splits) > 1):
            if flat := [name for split in SPLITS for name in found.get(split, ()) if name not in deep[split]]:
                log.info(
                    f"{folder}: no class folders in {' and '.join(flat)}: only `predict --data.images` can read it."
                )
            return splits
    return {}


def _one_of(folder: Path, split: str, names: Sequence[str]) -> str:
    if split in names or len(names) == 1:
        return split if split in names else names[0]
    raise UserError(f"{folder}: {some(names)} may each be the {split} split. Rename the right one {split}.")


def _tell_splits(root: Path, folders: dict[str, Path]) -> None:
    """Log which folder is which split, where their names don't say so."""
    if any(path != root / split for split, path in folders.items()):
        log.info(f"{root}: {', '.join(f'{split} is {path.relative_to(root)}/' for split, path in folders.items())}.")


def _tell_siblings(folder: Path) -> None:
    """Log that a folder is itself a split, and that others beside it are not used."""
    folder = folder.resolve()
    # In other people's folders nothing must be readable; only those with the names of splits are looked into.
    with suppress(OSError, UserError):
        names = [path.name for path in folder.parent.iterdir() if SPLIT_NAME.fullmatch(path.name) and path.is_dir()]
        splits = _named_splits(folder.parent, names) if folder.name in names else {}
        if others := [path.name for path in splits.values() if path != folder]:
            log.info(
                f"{folder} looks like a split of a data set; {' and '.join(others)} beside it will not be used. To use "
                f"all, set --data.root {shlex.quote(str(folder.parent))}."
            )


def _require_no_splits(folder: Path, classes: Sequence[str], named: Collection[str]) -> None:
    """Raise UserError where all folders have the same sub-folders, and so look like splits, unless all are `named`."""
    if (
        len(classes) < 2
        or set(map(legible, classes)) <= set(named)
        or any(has_loose_images(folder / name) for name in classes)
    ):
        return
    inside = [set(Content.of(folder / name).classes) for name in classes]
    shared = sorted(set.intersection(*inside))
    if len(shared) < 2 or 2 * len(shared) < len(set.union(*inside)):
        return
    if all(map(SPLIT_NAME.fullmatch, shared)):
        raise UserError(
            f"{folder}: each class folder has the splits {some(shared)} inside. Put the classes into the splits, "
            f"as in {folder / shared[0] / classes[0]}."
        )
    largest = max(classes, key=lambda name: _images_in(folder / name))
    raise UserError(
        f"{folder}: its folders ({some(classes)}) all have the sub-folders {some(shared)}: they look like splits, not "
        f"classes. To train on the largest only, set --data.root {shlex.quote(str(folder / largest))}; to use several, "
        "rename them to train, val and test. If they are the classes, name them all: --data.classes "
        f"{shlex.quote('[' + ','.join(map(legible, classes)) + ']')}."
    )


def cache_folder(root: Path, name: str) -> Path:
    """Where to keep a folder's packed images: hidden inside it, or in the user's cache if it can't be written.

    Args:
        name: of the packed set; a folder that has it already need not be writable.
    """
    inside = root / ".packed"
    if (inside / name).exists() or os.access(inside if inside.exists() else root, os.W_OK):
        return inside
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    digest = hashlib.blake2b(os.fsencode(root.resolve()), digest_size=8).hexdigest()
    return caches / "tiny_imagenet" / f"{root.name}-{digest}"


def _images_in(folder: Path) -> int:
    return len(images_below(folder)[0])
