"""From what was typed to what Lightning runs, and what the user is told."""

from __future__ import annotations  # read by older Pythons too, which are told what to do

import sys

MINIMUM = (3, 11)


def main(argv: list[str] | None = None) -> None:
    """Run `training.py`'s command line; `argv` defaults to that of the process.

    Exit status: 0; 1 for an error that the user can fix, printed as one message; 2 for arguments that are not
    understood; 129, 130 or 143 after SIGHUP, Ctrl-C or SIGTERM.
    """
    if sys.version_info < MINIMUM:
        sys.exit(f"error: Python {sys.version.split()[0]} is too old: {MINIMUM[0]}.{MINIMUM[1]} or newer is needed.")
    argv = sys.argv[1:] if argv is None else argv
    # Imported here: pages of help need no torch, and sweeps and reports use other files of this folder without it.
    try:
        from tiny_imagenet.cli import pages

        if pages.show(argv):
            return
        from tiny_imagenet import threads

        threads.wait_passively()  # before torch is loaded
        from tiny_imagenet.cli import app
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tiny_imagenet"):
            raise
        sys.exit(
            f"error: {sys.executable} lacks the package {error.name}. Activate the project's environment (source "
            ".venv/bin/activate), or make it: make install"
        )
    app.main(argv)
