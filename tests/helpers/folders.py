"""Folders in folders in folders, deeper than Python can call itself."""

import os
import shutil
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path


@contextmanager
def deep_folder(top: Path, levels: int) -> Iterator[Path]:
    """Make a folder with so many folders in one another, and work in the innermost; all are removed at the end.

    shutil.rmtree, by which pytest removes what a test leaves, fails below a thousand.
    """
    top.mkdir()
    with chdir(top):
        for _ in range(levels):
            os.mkdir("d")
            os.chdir("d")
        innermost = top.joinpath(*levels * ["d"])
        try:
            yield innermost
        finally:
            os.chdir(innermost)
            for name in os.listdir():
                shutil.rmtree(name) if os.path.isdir(name) else os.remove(name)
            for _ in range(levels):
                os.chdir("..")
                os.rmdir("d")
