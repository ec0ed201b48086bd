"""Compares the config of a run with the one that it is to be resumed with."""

import logging
from pathlib import Path
from typing import Any

from tiny_imagenet.errors import UserError

log = logging.getLogger(__name__)

# If one of these changed, the checkpoint's weights would not fit, or its optimizer and schedule, which are restored
# with their own rates, would not do what the config says, or an epoch would repeat some images and leave out others.
FIXED = (
    "model.arch", "model.stem", "model.width", "model.blocks", "model.downsampling", "model.freeze",
    "data.class_path", "data.init_args.balance", "seed_everything",
)  # fmt: skip
FIXED_BELOW = ("model.optimizer", "model.scheduler", "model.unfreeze_at")


def require_resumable(before: dict[str, Any], now: dict[str, Any], run: Path, defaults: dict[str, Any]) -> None:
    """Log how a run's config has changed.

    Args:
        defaults: values of options by dotted name, which they had before there were such options.

    Raises:
        UserError: a setting changed that may not.
    """
    before, now = flat(before), flat(now)
    # Not so below an optimizer or a schedule: another class has other options.
    new = [key for key in now if key not in before and not key.startswith(FIXED_BELOW)]
    before |= {key: defaults.get(key) for key in new}
    changed = {
        key: f"{key}: {before.get(key)} -> {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if _value(before, key) != _value(now, key)
    }
    refused = [line for key, line in changed.items() if key in FIXED or key.startswith(FIXED_BELOW)]
    if refused:
        raise UserError(
            f"Cannot resume {run}: these settings changed: {'; '.join(refused)}. Restore them, or start a new run "
            "without --ckpt_path, from its weights if you like (--model.weights); --name keeps runs apart."
        )
    if changed:
        log.warning(f"Resuming {run} with a changed config:\n  " + "\n  ".join(changed.values()))


def _value(config: dict[str, Any], key: str) -> Any:
    """A setting as it is compared: a class by its package and name, since it may be imported from several modules."""
    value = config.get(key)
    if key.endswith("class_path") and isinstance(value, str):
        return value.partition(".")[0], value.rpartition(".")[2]
    return value


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """A nested config by dotted names: {"model": {"arch": "resnet18"}} as {"model.arch": "resnet18"}."""
    if not isinstance(config, dict):
        return {prefix: config}
    below = (flat(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in config.items())
    return {name: value for names in below for name, value in names.items()}
