"""protocol.json: what a run trains and validates on, and so whether the test images chose its best epoch."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from tiny_imagenet.errors import UserError
from tiny_imagenet.files import replace_text
from tiny_imagenet.run.bounded import read_file
from tiny_imagenet.run.folder import read_config

FILE = "protocol.json"
LARGEST = 100_000  # bytes; a run's has less than 100


class Protocol(NamedTuple):
    """How many images a run trains and validates on, None where unknown, and whether it tests on the latter."""

    train_images: int | None
    val_images: int | None
    validates_on_test: bool


def write_protocol(run: Path, train_images: int, val_images: int, validates_on_test: bool) -> None:
    """Write a run's protocol."""
    protocol = Protocol(train_images, val_images, validates_on_test)
    replace_text(run / FILE, json.dumps(protocol._asdict(), indent=2) + "\n")


def read_protocol(run: Path, config: dict[str, Any] | None = None) -> Protocol:
    """A run's protocol. If the file is missing or damaged, `holdout` tells whether it validates on the test images.

    Args:
        config: the run's, if it was read already.
    """
    try:
        content = json.loads(read_file(run / FILE, LARGEST))
        on_test = content["validates_on_test"] is True
        return Protocol(_count(content.get("train_images")), _count(content.get("val_images")), on_test)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    try:
        config = read_config(run) if config is None else config
        return Protocol(None, None, config["data"]["init_args"]["holdout"] in (0, None))
    except (OSError, UserError, KeyError, TypeError):
        return Protocol(None, None, False)


def validates_on_test(run: Path) -> bool:
    """Whether a run's validation images are its test images, inferred from `holdout` if the file is missing."""
    return read_protocol(run).validates_on_test


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**63 else None
