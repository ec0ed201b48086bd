"""Reads and checks a sweep's file and command line, and gives the training options of each of its points."""

import itertools
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tiny_imagenet.cli.arguments import CONFIGS, find_config, separate
from tiny_imagenet.errors import UserError, did_you_mean
from tiny_imagenet.run.folder import RUNS
from tiny_imagenet.sweep.seeds import CONFIGS_SEED, SEED, Seeds, read_seeds, require_only_seeds

HARDWARE = ("--trainer.accelerator", "--trainer.devices", "--trainer.precision")
KEYS = ("config", "options", "search", "seeds", "metric", "direction", "trials", "test", "pruner", "storage")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; integers if both are. `step` excludes `log`."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None


# Label → value. A mapping of dotted options sets those options; any other value sets the option that is searched.
Choices = dict[str, Any]


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
                searched += _as_arguments(value if _is_group(value) else {key: value})
        searched += [] if seed is None else [f"--{SEED}={seed}"]
        return [*(f"--config={name}" for name in (*configs, *self.overlays)), *self.options, *searched]


def read_sweep(argv: list[str]) -> Sweep:
    """Read a sweep's file and command line: `FILE [--name NAME] [--config NAME]... [option]...`.

    Raises:
        UserError: the file does not exist or is not a valid sweep.
    """
    path = _find_sweep(argv[0])
    file = _mapping(path)
    values, overrides = separate(argv[1:], "--name", "--config", "--ckpt_path", "--trainer.default_root_dir")
    if values["--trainer.default_root_dir"]:
        raise UserError("A sweep's runs are in runs/ of the working directory: leave out --trainer.default_root_dir.")
    if values["--ckpt_path"]:
        raise UserError("A sweep resumes its trials by itself: leave out --ckpt_path.")
    name = (values["--name"] or [path.stem])[-1]
    search = {key: _dimension(key, values, path) for key, values in _section(file, "search", path).items()}
    if not search:
        raise UserError(f"{path}: search: is empty. Add at least one option and its values.")
    base, given = _names(file.get("config")), values["--config"]
    searches_configs = "config" in search
    sweep = Sweep(
        name=name,
        configs=base if searches_configs or not given else given,
        overlays=given if searches_configs else [],
        options=[*_as_arguments(_section(file, "options", path)), *overrides],
        search=search,
        seeds=read_seeds(file.get("seeds"), f"{path}: seeds:"),
        metric=file.get("metric", "val/top1"),
        direction=file.get("direction", "maximize"),
        trials=file.get("trials"),
        test=file.get("test", False),
        pruner=file.get("pruner"),
        storage=file.get("storage") or f"sqlite:///{RUNS / name / 'study.db'}",
    )
    _check(sweep, path)
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
        file = yaml.safe_load(path.read_text(encoding="utf-8"))
    # The last three: another encoding, a wrong !!tag, deep nesting.
    except (yaml.YAMLError, ValueError, LookupError, RecursionError) as error:
        raise UserError(f"{path} is not YAML: {error}") from error
    if not isinstance(file, dict):
        raise UserError(f"{path} is not a sweep file: it must be a mapping with some of the keys {', '.join(KEYS)}.")
    for key in file:
        _require_known(key, KEYS, f"{path}: there is no key {key!r}")
    return file


def _section(file: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    section = file.get(key) or {}
    if not isinstance(section, dict):
        raise UserError(f"{path}: {key}: must map options, such as data.batch_size, to values.")
    return {str(option): value for option, value in section.items()}


def _dimension(key: str, values: Any, path: Path) -> Choices | Range:
    if key != "config" and isinstance(values, dict) and {"low", "high"} & values.keys():
        return _range(key, values, path)
    if isinstance(values, list) and any(isinstance(value, dict) for value in values):
        raise UserError(f"{path}: search: {key}: values that are mappings need names: write each as NAME: VALUE.")
    if isinstance(values, list):
        values = {_label(value): value for value in values}
    if not isinstance(values, dict) or not values:
        raise UserError(
            f"{path}: search: {key}: must be a list of values, a mapping NAME: VALUE, or {{low: …, high: …}}."
        )
    return {str(label): value for label, value in values.items()}


def _range(key: str, values: dict[str, Any], path: Path) -> Range:
    where = f"{path}: search: {key}"
    for name in values:
        _require_known(name, ("low", "high", "log", "step"), f"{where}: a range has no {name!r}")
    try:
        # YAML reads 1e-5, which has no dot, as text.
        numbers = {n: float(v) if isinstance(v, str) else v for n, v in values.items() if n != "log" and v is not None}
        result = Range(**numbers, log=bool(values.get("log", False)))
        sound = -math.inf < result.low < result.high < math.inf and (result.low > 0 or not result.log)
        sound = sound and (result.step is None or (result.step > 0 and not result.log))
    except (TypeError, ValueError):
        sound = False
    if not sound:
        raise UserError(
            f"{where}: a range needs finite numbers low < high. It may have a step > 0, or log: true with low > 0."
        )
    return result


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
    if not sweep.is_grid and not (isinstance(sweep.trials, int) and sweep.trials > 0):
        raise UserError(f"{path}: a search with ranges needs trials:, the number of points to try.")
    if sweep.is_grid and sweep.trials is not None:
        raise UserError(f"{path}: remove trials:, which is for ranges; a search over lists runs each combination once.")
    require_only_seeds(sweep.seeds, sweep.search, sweep.options, f"{path}: seeds:")
    if not isinstance(sweep.test, bool):
        raise UserError(f"{path}: test: must be true or false, not {sweep.test!r}.")
    if sweep.pruner is not None and not (isinstance(sweep.pruner, dict) and "class_path" in sweep.pruner):
        raise UserError(f"{path}: pruner: needs a class_path, such as optuna.pruners.MedianPruner, and init_args.")
    for key in sweep.pruner or ():
        _require_known(key, ("class_path", "init_args"), f"{path}: pruner: there is no key {key!r}")


def _require_known(key: Any, known: Iterable[str], complaint: str) -> None:
    if key not in known:
        known = list(known)
        raise UserError(f"{complaint}.{did_you_mean(str(key), known, listed=len(known))}")


def _label(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _names(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _is_group(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all("." in str(key) for key in value)


def _as_arguments(options: Mapping[str, Any]) -> list[str]:
    return [f"--{option}={_label(value)}" for option, value in options.items()]
