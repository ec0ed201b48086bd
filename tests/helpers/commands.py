"""A command line, run in this process."""

import sys
from collections.abc import Callable, Iterable


def exit_status(main: Callable[[list[str]], object], argv: Iterable[object]) -> int:
    """The exit status that a process would have; a message instead of one goes to stderr, as Python does it."""
    try:
        main([str(argument) for argument in argv])
    except SystemExit as leaving:
        if isinstance(leaving.code, str):
            print(leaving.code, file=sys.stderr)
            return 1
        return leaving.code or 0
    return 0
