"""Reads and checks a sweep's file and command line, and gives the training options of each of its points."""

import itertools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiny_imagenet.cli.arguments import CONFIGS, find_config, separate
from tiny_imagenet.errors import UserError, did_you_mean, legible
from tiny_imagenet.run.bounded import read_yaml
from tiny_imagenet.run.folder import RUNS
from tiny_imagenet.run.seeds import SEED
from tiny_imagenet.sweep.dimensions import Choices, Range, as_text, dimension, require_known
from tiny_imagenet.sweep.seeds import CONFIGS_SEED, Seeds, read_seeds, require_only_seeds
from tiny_imagenet.sweep.storage import require_own_place

HARDWARE = ("--trainer.accelerator", "--trainer.devices", "--trainer.precision")
OWN = ("--name", "--config", "--ckpt_path", "--trainer.default_root_dir", "--storage")  # what a sweep sets by itself
MOST_POINTS = 10_000  # of a grid
KEYS = ("config", "options", "search", "seeds", "metric", "direction", "trials", "test", "pruner", "storage")


@dataclass(frozen=True)
class Sweep:
    """A sweep to run. A point maps each key of `search` to a label or, for a range, to a number."""

    name: str
    configs: list[str]
    overlays: list[str]  # configs from the command line, if the sweep searches over configs
    options: list[str]
    search: dict[str, Choices | Range]
    seeds: Seeds
    metric: str
    direction: str
    trials: int | None
    test: bool  # whether each trial's checkpoint is tested
    pruner: dict[str, Any] | None
    storage: str

    @property
    def folder(self) -> Path:
        return RUNS / self.name

    @property
    def hardware(self) -> list[str]:
        """The options that choose devices, which a trial's test needs too."""
        values, _ = separate(self.options, *HARDWARE)
        return [f"{name}={value}" for name, given in values.items() for value in given]

    @property
    def is_grid(self) -> bool:
        return all(isinstance(values, dict) for values in self.search.values())

    @property
    def has_seeds(self) -> bool:
        return self.seeds != CONFIGS_SEED

    def points(self) -> list[dict[str, str]]:
        """All points of a grid; the last key varies fastest."""
        return [dict(zip(self.search, labels, strict=True)) for labels in itertools.product(*self.search.values())]

    def arguments(self, point: Mapping[str, Any], seed: int | None = None) -> list[str]:
        """The arguments of `training.py fit` at a point. Searched options come last, so they override the others.

        Args:
            seed: None leaves it to the configs and options.
        """
        configs, searched = list(self.configs), []
        for key, label in point.items():
            values = self.search[key]
            value = values[label] if isinstance(values, dict) else label
            if key == "config":
                configs += _names(value)
            else:
                searched += _as_arguments(value if _is_group(key, value) else {key: value})
        searched += [] if seed is None else [f"--{SEED}={seed}"]
        return [*(f"--config={name}" for name in (*configs, *self.overlays)), *self.options, *searched]


def read_sweep(argv: list[str]) -> Sweep:
    """Read a sweep's file and command line: `FILE [--name NAME] [--config NAME]... [--storage URL] [option]...`.

    Raises:
        UserError: the file does not exist or is not a valid sweep.
    """
    path = _find_sweep(argv[0])
    file = _mapping(path)
    values, overrides = separate(argv[1:], *OWN)
    if values["--trainer.default_root_dir"]:
        raise UserError("A sweep's runs are in runs/ of the working directory: leave out --trainer.default_root_dir.")
    if values["--ckpt_path"]:
        raise UserError("A sweep resumes its trials by itself: leave out --ckpt_path.")
    name = (values["--name"] or [path.stem])[-1]
    search = {key: dimension(key, values, path) for key, values in _section(file, "search", path).items()}
    if not search:
        raise UserError(f"{path}: search: is empty. Add at least one option and its values.")
    options = _section(file, "options", path)
    _require_other_options(options, f"{path}: options")
    for key, found in search.items():
        if key != "config":
            for value in found.values() if isinstance(found, dict) else [found.low]:
                _require_other_options(value if _is_group(key, value) else {key: value}, f"{path}: search")
    base, given = _names(file.get("config")), values["--config"]
    storage, typed = file.get("storage"), values["--storage"]
    searches_configs = "config" in search
    sweep = Sweep(
        name=name,
        configs=base if searches_configs or not given else given,
        overlays=given if searches_configs else [],
        options=[*_as_arguments(options), *overrides],
        search=search,
        seeds=read_seeds(file.get("seeds"), f"{path}: seeds:"),
        metric=file.get("metric", "val/top1"),
        direction=file.get("direction", "maximize"),
        trials=file.get("trials"),
        test=file.get("test", False),
        pruner=file.get("pruner"),
        storage=(typed or [storage or f"sqlite:///{RUNS / name / 'study.db'}"])[-1],
    )
    _check(sweep, path)
    if not typed:
        require_own_place(sweep.storage, sweep.folder)
    return sweep


def _find_sweep(name: str) -> Path:
    folder = CONFIGS / "sweeps"
    for path in (Path(name), folder / name, folder / f"{name}.yaml", CONFIGS.parent / name):
        if path.is_file():
            return path
    known = sorted(path.name for path in folder.glob("*.yaml"))
    near = did_you_mean(name, known, listed=len(known))
    raise UserError(f"There is no sweep file {name!r}, neither here nor in {folder}.{near}")


def _mapping(path: Path) -> dict[str, Any]:
    try:
        file = read_yaml(path)
    except ValueError as error:
        raise UserError(f"{path} is not a sweep file: {error}.") from None
    if not isinstance(file, dict):
        raise UserError(f"{path} is not a sweep file: it must be a mapping with some of the keys {', '.join(KEYS)}.")
    try:
        json.dumps(file)
    except TypeError as error:  # by !!tags
        raise UserError(f"{path} is not a sweep file: {error}.") from None
    for key in file:
        require_known(key, KEYS, f"{path}: there is no key {key!r}")
    return file


def _section(file: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    section = file.get(key) or {}
    if not isinstance(section, dict):
        raise UserError(f"{path}: {key}: must map options, such as data.batch_size, to values.")
    return {str(option): value for option, value in section.items()}


def _require_other_options(options: Mapping[str, Any], where: str) -> None:
    """Refuse options that a sweep sets by itself, and text that no command line can hold."""
    arguments = _as_arguments(options)
    if own := [name for name, given in separate(arguments, *OWN)[0].items() if given]:
        raise UserError(f"{where}: remove {own[0][2:]}, which a sweep sets by itself.")
    if bad := [each for each in arguments if re.search("[\0\ud800-\udfff]", each)]:
        raise UserError(f"{where}: {legible(bad[0])} has characters that no command line can hold.")


def _check(sweep: Sweep, path: Path) -> None:
    searched = [name for value in sweep.search.get("config", {}).values() for name in _names(value)]
    for name in (*sweep.configs, *searched, *sweep.overlays):
        if not isinstance(name, str):
            raise UserError(f"{path}: config: must be the name of a config, or a list of names, not {name!r}.")
        find_config(name)
    for key, value in (("metric", sweep.metric), ("storage", sweep.storage)):
        if not isinstance(value, str):
            raise UserError(f"{path}: {key}: must be text, not {value!r}.")
    if sweep.direction not in ("maximize", "minimize"):
        raise UserError(f"{path}: direction: must be maximize or minimize, not {sweep.direction!r}.")
    if not sweep.is_grid and not (type(sweep.trials) is int and sweep.trials > 0):
        raise UserError(f"{path}: a search with ranges needs trials:, the number of points to try.")
    if sweep.is_grid and sweep.trials is not None:
        raise UserError(f"{path}: remove trials:, which is for ranges; a search over lists runs each combination once.")
    points = math.prod(map(len, sweep.search.values())) if sweep.is_grid else 0
    if points * len(sweep.seeds) > MOST_POINTS:
        seeds = f", with {len(sweep.seeds):,} seeds each" * (len(sweep.seeds) > 1)
        raise UserError(
            f"{path}: search: has {points:,} points{seeds}, more than {MOST_POINTS:,}. Shorten its lists, or search "
            "ranges, from which trials: points are drawn."
        )
    require_only_seeds(sweep.seeds, sweep.search, sweep.options, f"{path}: seeds:")
    if not isinstance(sweep.test, bool):
        raise UserError(f"{path}: test: must be true or false, not {sweep.test!r}.")
    if sweep.pruner is not None and not (isinstance(sweep.pruner, dict) and "class_path" in sweep.pruner):
        raise UserError(f"{path}: pruner: needs a class_path, such as optuna.pruners.MedianPruner, and init_args.")
    for key in sweep.pruner or ():
        require_known(key, ("class_path", "init_args"), f"{path}: pruner: there is no key {key!r}")


def _names(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _is_group(key: str, value: Any) -> bool:
    """Whether a value is a mapping of options; {} changes none, if `key` is not itself an option."""
    return isinstance(value, dict) and (bool(value) or "." not in key) and all("." in str(name) for name in value)


def _as_arguments(options: Mapping[str, Any]) -> list[str]:
    return [f"--{option}={as_text(value)}" for option, value in options.items()]
