"""Which data set the benchmark's commands use, and how their trainings find it."""

import argparse
import sys
from pathlib import Path
from typing import Any

from tiny_imagenet.data import TinyImageNetDataModule
from tiny_imagenet.errors import UserError


def add_data_options(parser: argparse.ArgumentParser) -> None:
    defaults = TinyImageNetDataModule()
    parser.add_argument("--root", default=str(defaults.root), help="like --data.root of training.py")
    parser.add_argument("--archive", type=_or_null, default=defaults.archive, help="like --data.archive")
    parser.add_argument("--md5", type=_or_null, default=defaults.md5, help="like --data.md5")


def _or_null(value: str) -> str | None:
    return None if value == "null" else value


def prepared_data(options: argparse.Namespace, **others: Any) -> TinyImageNetDataModule:
    """The data set, downloaded and packed. Exits if there is an error that the user can fix."""
    try:
        data = TinyImageNetDataModule(options.root, options.archive, options.md5, **others)
        data.setup("fit")
    except UserError as error:
        sys.exit(f"error: {error}")
    return data


def fit_options(options: argparse.Namespace) -> list[str]:
    """The options of training.py for the same data, from any working directory."""
    archive = Path(options.archive).resolve() if options.archive and Path(options.archive).exists() else options.archive
    return [f"--data.root={Path(options.root).resolve()}", f"--data.archive={archive or 'null'}",
            f"--data.md5={options.md5 or 'null'}"]  # fmt: skip
