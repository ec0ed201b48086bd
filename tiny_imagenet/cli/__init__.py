"""From what was typed to what Lightning runs, and what the user is told."""


def main(argv: list[str] | None = None) -> None:
    """Run `training.py`'s command line; see `app.main`."""
    from tiny_imagenet.cli import app  # here, since sweeps and reports use other files of this folder without torch

    app.main(argv)
