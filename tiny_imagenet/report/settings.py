"""A run's config.yaml as one flat list of settings, and how the settings of runs differ."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from tiny_imagenet.report.text import printable
from tiny_imagenet.run.protocol import Protocol

# Locations, display and what is kept: these affect no result.
WITHOUT_EFFECT = {
    *("data.archive", "data.images", "data.md5", "data.num_workers", "data.on_bad_images", "data.root"),
    *("model.max_parameters", "trainer.enable_progress_bar", "trainer.fast_dev_run", "trainer.log_every_n_steps"),
    *("trainer.num_sanity_val_steps", "trainer.profiler"),
}

SHORT = {"trainer.accumulate_grad_batches": "accumulate"}

# What identifies a data set and its split; accuracies compare only within one.
DATA = (
    *("data", "data.source", "data.classes"),
    *("data.train_images", "data.val_images", "data.validates_on_test"),
)

# Numeric settings that figures and tables use → the smallest valid value.
NUMBERS = {
    "data.batch_size": 1,
    "data.image_size": 1,
    "model.width": 0,
    "trainer.accumulate_grad_batches": 1,
    "trainer.max_epochs": -1,
}
LARGEST = 1e9


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config's settings by dotted name, such as `model.arch`, without those that affect no result.

    `data` is the name of the data module's class, `data.*` are its options, `data.source` is what it reads;
    `model.lr` is the optimizer's learning rate and `model.optimizer` all the rest of it. What is null is left out.

    Raises:
        ValueError: the architecture is not text, or a number that the report uses is not valid.
    """
    found: dict[str, Any] = {"seed": config.get("seed_everything")}
    for section in ("model", "data", "trainer"):
        content = config.get(section)
        if is_component(content):
            found[section] = component_name(content)
            content = content.get("init_args")
        if isinstance(content, Mapping):
            found |= {f"{section}.{name}": value for name, value in content.items()}
    optimizer = found.get("model.optimizer")
    if is_component(optimizer):
        del found["model.optimizer"]  # so that it follows the learning rate
        found["model.lr"] = learning_rate(optimizer)
        found["model.optimizer"] = _without_learning_rate(optimizer)
    found["data.source"] = _source(found)
    found = {name: value for name, value in found.items() if value is not None and name not in WITHOUT_EFFECT}
    _check(found)
    return found


def with_protocol(found: Mapping[str, Any], protocol: Protocol) -> dict[str, Any]:
    """The settings and how many images there were to train and validate on, as far as known."""
    counted = {f"data.{name}": value for name, value in protocol._asdict().items() if value is not None}
    return {**found, **counted}


def differing(every: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """For each run, the settings that differ between runs, as short text under short names (`arch`, `lr`)."""
    names = [name for each in every for name in each]
    columns = {}
    for name in dict.fromkeys(names):
        values = [each.get(name) for each in every]
        if len({frozen(value) for value in values}) > 1:
            columns[short_name(name)] = described(values)
    return [{name: texts[row] for name, texts in columns.items()} for row in range(len(every))]


def short_name(name: str) -> str:
    """The column of a setting: batch_size for data.batch_size."""
    return SHORT.get(name, printable(name.split(".")[-1], 60))


def described(values: Sequence[Any]) -> list[str]:
    """Several runs' values of one setting, each in the fewest words that distinguish it.

    A component (class_path and init_args) is its class, with those arguments that differ between values of that class.
    """
    arguments: dict[str, dict[str, set[str]]] = {}
    for component in _components(values):
        seen = arguments.setdefault(component_name(component), {})
        for name, value in _arguments(component).items():
            seen.setdefault(name, set()).add(frozen(value))
    telling = {name: {argument for argument, seen in each.items() if len(seen) > 1} for name, each in arguments.items()}
    return [_text(value, telling) for value in values]


def is_component(value: Any) -> bool:
    """Whether this part of a config names a class and its arguments."""
    return isinstance(value, Mapping) and isinstance(value.get("class_path"), str)


def component_name(component: Mapping[str, Any]) -> str:
    """The class of a component, without its module."""
    return printable(component["class_path"].rsplit(".", 1)[-1], 60)


def learning_rate(component: Mapping[str, Any]) -> float | None:
    """The learning rate of an optimizer, or of the one that it wraps; None where there is none."""
    arguments = _arguments(component)
    if "lr" in arguments:
        try:
            rate = float(arguments["lr"])
        except (TypeError, ValueError, OverflowError):
            return None
        return rate if math.isfinite(rate) else None
    rates = (learning_rate(value) for value in arguments.values() if is_component(value))
    return next((rate for rate in rates if rate is not None), None)


def frozen(value: Any) -> str:
    """A value from a config as text that is the same for equal values."""
    return json.dumps(value, sort_keys=True, default=str)


def _source(found: Mapping[str, Any]) -> str | None:
    """What a run read: the archive's file name without its folder, or the data folder if there is no archive."""
    archive, root = found.get("data.archive"), found.get("data.root")
    if archive is None:
        return None if root is None else str(root)
    name, md5 = PurePath(str(archive)).name, found.get("data.md5")
    return name if md5 is None else f"{name} (MD5 {md5})"


def _check(found: Mapping[str, Any]) -> None:
    for name, least in NUMBERS.items():
        value = found.get(name, least)
        if type(value) not in (int, float) or not least <= value <= LARGEST:
            raise ValueError(f"config.yaml has {name} {printable(repr(value), 40)}, which is not a valid number")
    if not isinstance(found.get("model.arch", ""), str):
        raise ValueError(f"config.yaml has model.arch {printable(repr(found['model.arch']), 40)}, which is not a name")


def _arguments(component: Mapping[str, Any]) -> Mapping[str, Any]:
    arguments = component.get("init_args")
    return arguments if isinstance(arguments, Mapping) else {}


def _without_learning_rate(component: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {
        name: _without_learning_rate(value) if is_component(value) else value
        for name, value in _arguments(component).items()
        if name != "lr"
    }
    return {"class_path": component["class_path"], "init_args": arguments}


def _components(values: Iterable[Any]) -> Iterable[Mapping[str, Any]]:
    for value in values:
        if is_component(value):
            yield value
            yield from _components(_arguments(value).values())
        elif isinstance(value, list):
            yield from _components(value)


def _text(value: Any, telling: Mapping[str, set[str]]) -> str:
    if is_component(value):
        name = component_name(value)
        shown = [
            _text(argument, telling) if is_component(argument) else f"{printable(key, 60)} {_text(argument, telling)}"
            for key, argument in _arguments(value).items()
            if key in telling.get(name, ()) or is_component(argument)
        ]
        return f"{name}({', '.join(shown)})" if shown else name
    if isinstance(value, list):
        joined = ("+" if any(map(is_component, value)) else " ").join(_text(each, telling) for each in value)
        return joined or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(key, 60)} {_text(each, telling)}" for key, each in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else printable(value, 200)
