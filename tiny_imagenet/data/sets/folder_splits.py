"""Any folder of class folders: which splits it has, and where its packed images can be kept."""

import hashlib
import logging
import os
from pathlib import Path

from tiny_imagenet.data.images.scan import class_folders
from tiny_imagenet.errors import UserError

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")


def find_splits(root: Path) -> dict[str, Path]:
    """The folder of each split that there is: of root/train/, val/ and test/, or root itself as `train`.

    root/train is a split if it has folders, and a class called train if it has images only; val and test are splits if
    they have folders.

    Raises:
        UserError: there is no folder of classes, or fewer than two classes.
    """
    folders = class_folders(root)
    if "train" in folders and _has_folders(root / "train"):
        splits = {split: root / split for split in SPLITS if split in folders and _has_folders(root / split)}
        if flat := [split for split in SPLITS if split in folders and split not in splits]:
            log.info(f"{root}: {' and '.join(flat)} without class folders: for `predict --data.images` only.")
        if others := sorted(set(folders) - set(SPLITS)):
            log.info(f"{root}: {', '.join(others[:5])} is not read; the splits are called {', '.join(SPLITS)}.")
    else:
        splits = {"train": root}
    if len(classes := class_folders(splits["train"])) < 2:
        raise UserError(f"{splits['train']} has one class folder only, {classes[0]}: two or more are needed.")
    return splits


def _has_folders(folder: Path) -> bool:
    return any(entry.is_dir() and not entry.name.startswith(".") for entry in os.scandir(folder))


def require_known_classes(splits: dict[str, Path], split: str) -> None:
    """Raise UserError where a split has a folder of a class without training images."""
    known = class_folders(splits["train"])
    if unknown := [name for name in class_folders(splits[split]) if name not in known]:
        raise UserError(
            f"{splits[split]} has folders that {splits['train']} lacks: {', '.join(unknown[:5])}. Each split has "
            "the same class folders. (For Tiny ImageNet's own layout choose --data TinyImageNetDataModule; for images "
            "without labels there is predict --data.images FOLDER.)"
        )


def cache_folder(root: Path, name: str) -> Path:
    """Where packed images of a folder are kept: hidden in it, or in the user's cache if it can't be written.

    Args:
        name: of the packed set; if the folder has it already, it need not be written.
    """
    inside = root / ".packed"
    if (inside / name).exists() or os.access(inside if inside.exists() else root, os.W_OK):
        return inside
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    folder = str(root.resolve())
    outside = caches / "tiny_imagenet" / f"{root.name}-{hashlib.blake2b(folder.encode(), digest_size=8).hexdigest()}"
    log.info(f"{root} can't be written: its packed images are kept in {outside}.")
    return outside
