"""What a sweep searches over: lists of values, and ranges of numbers."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiny_imagenet.errors import UserError, did_you_mean

LARGEST, MOST_STEPS = 1e15, 10**9  # number, and steps of a range: Optuna computes with floating-point numbers


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; integers if both are. `step` excludes `log`."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None


# Label → value: a mapping of dotted options sets those, {} none; any other value sets the option that is searched.
Choices = dict[str, Any]


def dimension(key: str, values: Any, path: Path) -> Choices | Range:
    """What a sweep file lists for an option.

    Raises:
        UserError: it is neither values nor a range.
    """
    if key != "config" and isinstance(values, dict) and {"low", "high"} & values.keys():
        return _range(key, values, path)
    if isinstance(values, list) and any(isinstance(value, dict) for value in values):
        raise UserError(f"{path}: search: {key}: values that are mappings need names: write each as NAME: VALUE.")
    if isinstance(values, list):
        values = {as_text(value): value for value in values}
    if not isinstance(values, dict) or not values:
        raise UserError(
            f"{path}: search: {key}: must be a list of values, a mapping NAME: VALUE, or {{low: …, high: …}}."
        )
    return {str(label): value for label, value in values.items()}


def _range(key: str, values: dict[str, Any], path: Path) -> Range:
    where = f"{path}: search: {key}"
    for name in values:
        require_known(name, ("low", "high", "log", "step"), f"{where}: a range has no {name!r}")
    try:
        # YAML reads 1e-5, which has no dot, as text.
        numbers = {n: float(v) if isinstance(v, str) else v for n, v in values.items() if n != "log" and v is not None}
        result = Range(**numbers, log=bool(values.get("log", False)))
        sound = -LARGEST <= result.low < result.high <= LARGEST and (result.low > 0 or not result.log)
        steps = 0 if result.step is None else (result.high - result.low) / result.step
        sound = sound and 0 <= steps <= MOST_STEPS and not (steps and result.log)
        sound = sound and not any(isinstance(number, bool) for number in numbers.values())
    except (TypeError, ValueError, ArithmeticError):
        sound = False
    if not sound:
        raise UserError(
            f"{where}: a range needs finite numbers low < high, up to {LARGEST:g}. It may have a step > 0 that makes "
            f"at most {MOST_STEPS:,} steps, or log: true with low > 0."
        )
    return result


def require_known(key: Any, known: Iterable[str], complaint: str) -> None:
    """Raise UserError with the complaint, and the nearest known key, for a key that is not known."""
    if key not in known:
        known = list(known)
        raise UserError(f"{complaint}.{did_you_mean(str(key), known, listed=len(known))}")


def as_text(value: Any) -> str:
    """A value as it is written on a command line."""
    return value if isinstance(value, str) else json.dumps(value)
