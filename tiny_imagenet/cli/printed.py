"""Commands as they are printed: they run as printed, from the folder in which they are printed."""

import importlib.metadata
import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

TRAINING = Path(__file__).parents[2] / "training.py"


def training_command(*words: str) -> str:
    """python training.py WORDS, by the Python that runs now."""
    return shlex.join([_python(), _path(TRAINING), *words])


def module_command(module: str, *words: str) -> str:
    """python -m MODULE WORDS, by the Python that runs now, from a folder where it finds the package."""
    found = Path.cwd() == TRAINING.parent or _is_installed()
    where = "" if found else f"PYTHONPATH={shlex.quote(str(TRAINING.parent))} "
    return where + shlex.join([_python(), "-m", module, *words])


def tool_command(tool: str, words: Iterable[str]) -> str:
    """A program that was installed beside Python, such as tensorboard."""
    beside = Path(sys.executable).with_name(tool)
    on_path = shutil.which(tool)
    same = on_path is not None and (os.path.abspath(on_path) == str(beside) or not beside.exists())
    return shlex.join([tool if same else _path(beside), *words])


def _python() -> str:
    # Not where links lead: those of two environments lead to the same program.
    on_path = shutil.which("python")
    return "python" if on_path and os.path.abspath(on_path) == sys.executable else _path(Path(sys.executable))


def _path(path: Path) -> str:
    """Relative to the working directory if it is below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _is_installed() -> bool:
    # Not by the .egg-info that another Python's installation leaves beside training.py.
    elsewhere = [place for place in sys.path if os.path.abspath(place) != str(TRAINING.parent)]
    return any(importlib.metadata.distributions(name="tiny-imagenet", path=elsewhere))
