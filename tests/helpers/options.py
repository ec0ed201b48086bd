"""Command-line options that many tests use."""

from typing import Any


def callback(name: str, **arguments: Any) -> list[str]:
    """Options that add a callback with these arguments.

    Args:
        name: the name of a callback of Lightning or this project, its full path, or `module.Class` for one in
            tests.helpers, such as killing.KillAt.
    """
    path = f"tests.helpers.{name}" if name.count(".") == 1 else name
    values = {key: "null" if value is None else value for key, value in arguments.items()}
    return [f"--trainer.callbacks+={path}", *(f"--trainer.callbacks.{key}={value}" for key, value in values.items())]
