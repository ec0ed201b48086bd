"""The `seeds:` of a sweep file: each point is trained with each of them."""

from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from tiny_imagenet.cli.arguments import CONFIGS, separate
from tiny_imagenet.errors import UserError
from tiny_imagenet.run.seeds import SEED

LARGEST = 2**32 - 1  # that NumPy accepts
MOST = 1000  # of a count
Seeds = tuple[int | None, ...]
CONFIGS_SEED: Seeds = (None,)  # the seed is left to the configs and options


def read_seeds(value: Any, where: str) -> Seeds:
    """The seeds of a list, or of a count, which begins at the default seed; CONFIGS_SEED if there are none.

    Raises:
        UserError: it is neither, or a seed is not valid, or is there twice.
    """
    if value is None:
        return CONFIGS_SEED
    if _is_number(value) and 0 < value <= MOST:
        first = yaml.safe_load((CONFIGS / "defaults.yaml").read_text(encoding="utf-8"))[SEED]
        value = list(range(first, first + value))
    if (
        not isinstance(value, list)
        or not value
        or not all(_is_number(seed) and 0 <= seed <= LARGEST for seed in value)
        or len(set(value)) < len(value)
    ):
        raise UserError(
            f"{where} must be a number of seeds, at most {MOST}, or a list of different ones from 0 to {LARGEST}, "
            f"not {value!r}."
        )
    return tuple(value)


def require_only_seeds(seeds: Seeds, search: Iterable[str], options: Sequence[str], where: str) -> None:
    """Refuse another source of the seed beside `seeds:`.

    Raises:
        UserError: the options or the search set the seed too.
    """
    if seeds == CONFIGS_SEED:
        return
    if SEED in search or separate(options, f"--{SEED}")[0][f"--{SEED}"]:
        raise UserError(f"{where} sets {SEED}; remove that from the search and the options.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
