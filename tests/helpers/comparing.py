"""Compares runs that must be equal, bit for bit."""

from pathlib import Path
from typing import Any

import torch

from tests.helpers.tables import table

RUN_DEPENDENT = ("seconds", "images_per_s", "memory")  # columns that measure this machine


def contents(run: Path) -> tuple[dict[str, Any], list[dict[str, str]], int]:
    """What resuming must not change in a run: states, rows of metrics.csv, number of steps."""
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    rows = [{k: v for k, v in row.items() if k not in RUN_DEPENDENT} for row in table(run / "metrics.csv")]
    states = {k: v for k, v in checkpoint.items() if "state" in k or k in ("optimizer_states", "lr_schedulers")}
    return states, rows, checkpoint["global_step"]


def assert_same(left: Any, right: Any, path: str = "") -> None:
    """Require equality, bit for bit, also within dicts and lists."""
    assert type(left) is type(right), path
    if isinstance(left, dict):
        assert left.keys() == right.keys(), path
        for key in left:
            assert_same(left[key], right[key], f"{path}.{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), path
        for number, (one, other) in enumerate(zip(left, right, strict=True)):
            assert_same(one, other, f"{path}[{number}]")
    elif isinstance(left, torch.Tensor):
        assert torch.equal(left, right), path
    else:
        assert left == right, path
