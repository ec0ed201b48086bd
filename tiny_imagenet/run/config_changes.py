"""What has changed between the config of a run and the one that it is to go on with."""

import logging
from pathlib import Path
from typing import Any

from tiny_imagenet.errors import UserError

log = logging.getLogger(__name__)

# With one of these changed, a checkpoint's weights do not fit any more, or its optimizer and schedule, which come back
# with their own rates, would not do what the config says, or images of the epoch would be repeated and others left out.
NOT_RESUMABLE = (
    "model.arch", "model.stem", "model.width", "model.blocks", "model.freeze", "data.class_path", "seed_everything",
)  # fmt: skip
NOT_RESUMABLE_BELOW = ("model.optimizer", "model.scheduler")


def compare(before: dict[str, Any], now: dict[str, Any], run: Path) -> None:
    """Say what has changed in a run's config, and refuse what cannot be resumed."""
    had_average, has_average = (_has_average(config) for config in (before, now))
    before, now = flat(before), flat(now)
    changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    told = [f"{key}: {before.get(key)} -> {now.get(key)}" for key in changed]
    refused = [
        line
        for key, line in zip(changed, told, strict=True)
        if key in NOT_RESUMABLE or key.startswith(NOT_RESUMABLE_BELOW)
    ]
    if had_average and not has_average:
        # The weights would go on from their average, and the average would be lost.
        refused.append("trainer.callbacks: EMA is gone")
    if refused:
        raise UserError(
            f"{run} cannot go on with a changed {'; '.join(refused)}. Start a new run without --ckpt_path, from its "
            "weights if you like (--model.weights); --name keeps runs of different configs apart."
        )
    if told:
        log.warning(f"Going on in {run} with a changed config:\n  " + "\n  ".join(told))


def _has_average(config: dict[str, Any]) -> bool:
    callbacks = config.get("trainer", {}).get("callbacks") or []
    if isinstance(callbacks, dict):  # a single one
        callbacks = [callbacks]
    return any(callback["class_path"].rpartition(".")[2] == "EMA" for callback in callbacks)


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """A nested config by dotted names: {"model": {"arch": "resnet18"}} as {"model.arch": "resnet18"}."""
    if not isinstance(config, dict):
        return {prefix: config}
    return {k: v for key, value in config.items() for k, v in flat(value, f"{prefix}.{key}" if prefix else key).items()}
