"""What a run's config.yaml says, as one flat list of settings, and how two runs' settings differ."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Where things lie, how they are shown and what is kept: no result depends on these.
WITHOUT_EFFECT = {
    *("data.archive", "data.images", "data.md5", "data.num_workers", "data.root"),
    *("model.max_parameters", "trainer.enable_progress_bar", "trainer.fast_dev_run", "trainer.log_every_n_steps"),
    *("trainer.num_sanity_val_steps", "trainer.profiler"),
}

SHORT = {"trainer.accumulate_grad_batches": "accumulate"}


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config's settings by dotted name, such as `model.arch`, without those that affect no result.

    `data` is the name of the data module's class, `data.*` are its options, `model.lr` is the optimizer's learning rate
    and `model.optimizer` all the rest of it. What is null is left out.
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
        del found["model.optimizer"]  # to follow the learning rate, which is looked for first
        found["model.lr"] = learning_rate(optimizer)
        found["model.optimizer"] = _without_learning_rate(optimizer)
    return {name: value for name, value in found.items() if value is not None and name not in WITHOUT_EFFECT}


def differing(every: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The settings that are not the same in all runs, for each run, as short text under short names (`arch`, `lr`)."""
    names = [name for each in every for name in each]
    columns = {}
    for name in dict.fromkeys(names):
        values = [each.get(name) for each in every]
        if len({frozen(value) for value in values}) > 1:
            columns[SHORT.get(name, name.split(".")[-1])] = described(values)
    return [{name: texts[row] for name, texts in columns.items()} for row in range(len(every))]


def described(values: Sequence[Any]) -> list[str]:
    """Several runs' values of one setting, each in as few words as tell it from the others.

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
    return component["class_path"].rsplit(".", 1)[-1]


def learning_rate(component: Mapping[str, Any]) -> float | None:
    """The learning rate of an optimizer, or of the one that it wraps; None where there is none."""
    arguments = _arguments(component)
    if "lr" in arguments:
        try:
            return float(arguments["lr"])
        except (TypeError, ValueError):
            return None
    rates = (learning_rate(value) for value in arguments.values() if is_component(value))
    return next((rate for rate in rates if rate is not None), None)


def frozen(value: Any) -> str:
    """A value from a config as text that is the same for equal values."""
    return json.dumps(value, sort_keys=True, default=str)


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
            _text(argument, telling) if is_component(argument) else f"{key} {_text(argument, telling)}"
            for key, argument in _arguments(value).items()
            if key in telling.get(name, ()) or is_component(argument)
        ]
        return f"{name}({', '.join(shown)})" if shown else name
    if isinstance(value, list):
        joined = ("+" if any(map(is_component, value)) else " ").join(_text(each, telling) for each in value)
        return joined or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(each, telling)}" for key, each in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
