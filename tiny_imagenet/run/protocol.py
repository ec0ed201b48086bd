"""protocol.json: what a run trains and validates on, and so whether the test images chose its best epoch."""

import json
from pathlib import Path

from tiny_imagenet.errors import UserError
from tiny_imagenet.files import replace_text
from tiny_imagenet.run.folder import read_config

FILE = "protocol.json"


def write_protocol(run: Path, train_images: int, val_images: int, validates_on_test: bool) -> None:
    """Write how many images a run trains and validates on, and whether it tests on the latter."""
    protocol = {"train_images": train_images, "val_images": val_images, "validates_on_test": validates_on_test}
    replace_text(run / FILE, json.dumps(protocol, indent=2) + "\n")


def validates_on_test(run: Path) -> bool:
    """Whether a run's validation images are its test images, inferred from `holdout` if the file is missing."""
    try:
        return json.loads((run / FILE).read_bytes())["validates_on_test"] is True
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        return read_config(run)["data"]["init_args"]["holdout"] in (0, None)
    except (OSError, UserError, KeyError, TypeError):
        return False
