"""The splits of a folder of class folders, and where its packed images are kept."""

import hashlib
import logging
import os
from pathlib import Path

from tiny_imagenet.data.images.scan import class_folders
from tiny_imagenet.errors import UserError, some

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")


def find_splits(root: Path) -> dict[str, Path]:
    """The folders of the existing splits: of root/train/, val/ and test/, or root itself as `train`.

    root/train/ is a split if it has folders, and a class called train if it has only images; val/ and test/ are splits
    if they have folders.

    Raises:
        UserError: there is no class folder, or only one.
    """
    folders = class_folders(root)
    if "train" in folders and _has_folders(root / "train"):
        splits = {split: root / split for split in SPLITS if split in folders and _has_folders(root / split)}
        if flat := [split for split in SPLITS if split in folders and split not in splits]:
            log.info(f"{root}: no class folders in {' and '.join(flat)}: only `predict --data.images` can read it.")
        if others := sorted(set(folders) - set(SPLITS)):
            log.info(f"{root}: ignored {some(others)}; the splits are called {', '.join(SPLITS)}.")
    else:
        splits = {"train": root}
    if len(classes := class_folders(splits["train"])) < 2:
        raise UserError(f"{splits['train']} has only one class folder, {classes[0]}; at least two are needed.")
    return splits


def _has_folders(folder: Path) -> bool:
    return any(entry.is_dir() and not entry.name.startswith(".") for entry in os.scandir(folder))


def require_known_classes(splits: dict[str, Path], split: str) -> None:
    """Raise UserError if a split has a class folder that the training split lacks."""
    known = class_folders(splits["train"])
    if unknown := [name for name in class_folders(splits[split]) if name not in known]:
        raise UserError(
            f"{splits[split]} has folders that {splits['train']} lacks: {some(unknown)}. All splits need the same "
            "class folders. (For Tiny ImageNet's own layout use --data TinyImageNetDataModule; for images without "
            "labels, predict --data.images FOLDER.)"
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
