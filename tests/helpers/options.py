"""Options of a command line that tests often give."""

from typing import Any


def callback(name: str, **arguments: Any) -> list[str]:
    """Options that add a callback with these arguments.

    Args:
        name: that of one of Lightning's or this project's callbacks, or its whole path; `module.Class` is one of
            tests.helpers, such as killing.KillAt.
    """
    path = f"tests.helpers.{name}" if name.count(".") == 1 else name
    values = {key: "null" if value is None else value for key, value in arguments.items()}
    return [f"--trainer.callbacks+={path}", *(f"--trainer.callbacks.{key}={value}" for key, value in values.items())]
