"""protocol.json: what a run trains and validates on, and so which checkpoint the test images may judge."""

import json
from pathlib import Path

import yaml

from tiny_imagenet.files import replace_text

FILE = "protocol.json"


def write_protocol(run: Path, train_images: int, val_images: int, validates_on_test: bool) -> None:
    """Set down, in a run's folder, how many images it trains and validates on, and whether it tests on the latter."""
    protocol = {"train_images": train_images, "val_images": val_images, "validates_on_test": validates_on_test}
    replace_text(run / FILE, json.dumps(protocol, indent=2) + "\n")


def validates_on_test(run: Path) -> bool:
    """Whether a run's validation images are its test images; as its `holdout` lets expect where the file is lost."""
    try:
        return json.loads((run / FILE).read_bytes())["validates_on_test"] is True
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        config = yaml.safe_load((run / "config.yaml").read_bytes())
        return config["data"]["init_args"]["holdout"] in (0, None)
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError):
        return False


def checkpoint_to_test(run: Path) -> Path | None:
    """A run's checkpoint to test: the best, but the last where the test images chose the best, or there is no other."""
    names = ("last.ckpt",) if validates_on_test(run) else ("best.ckpt", "last.ckpt")
    return next((path for name in names if (path := run / "checkpoints" / name).is_file()), None)
