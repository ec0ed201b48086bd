"""Null for an option that needs a value: jsonargparse takes it in a config as if the option were left out."""

import inspect
from argparse import ArgumentError
from collections.abc import Iterator
from pydoc import locate
from typing import Any

from jsonargparse import ArgumentParser, Namespace


def require_values(parser: ArgumentParser, config: Namespace) -> None:
    """Refuse null where the type of an option, or of an argument of a class in the config, is not `… | None`.

    Raises:
        ArgumentError: as jsonargparse raises for the command line, with the option's name.
    """
    _require(parser, config, "")
    for option, path, arguments in _classes(config, ""):
        nulls = {name: None for name, value in vars(arguments).items() if value is None}
        if nulls and inspect.isclass(found := locate(path)):  # not a function
            of_class = type(parser)(exit_on_error=False)
            of_class.add_class_arguments(found, fail_untyped=False)
            _require(of_class, Namespace(nulls), option)


def _classes(value: Any, option: str) -> Iterator[tuple[str, str, Namespace]]:
    """The classes that a config names, however deep: option, class path, arguments."""
    if isinstance(value, list):
        for each in value:
            yield from _classes(each, option)
    elif isinstance(value, Namespace):
        if isinstance(value.get("class_path"), str) and isinstance(value.get("init_args"), Namespace):
            yield option, value.class_path, value.init_args
        for name, each in vars(value).items():
            yield from _classes(each, option if name == "init_args" else f"{option}.{name}".lstrip("."))


def _require(parser: ArgumentParser, values: Namespace, option: str) -> None:
    try:
        parser.validate(values, skip_unset=False, skip_required=True)
    except TypeError as error:
        raise ArgumentError(None, str(error).replace('key "', f'key "{option}.' if option else 'key "', 1)) from error
