"""Copies of run folders."""

import os
import shutil
from pathlib import Path


def copy_run(run: Path, folder: Path) -> Path:
    """Copy a run's folder, with its hard links: best.ckpt and last.ckpt may be the same file."""
    copies: dict[int, str] = {}

    def copy(source: str, target: str) -> str:
        file = os.stat(source).st_ino
        if file in copies:
            os.link(copies[file], target)
        else:
            copies[file] = shutil.copy2(source, target)
        return target

    return shutil.copytree(run, folder, copy_function=copy)
