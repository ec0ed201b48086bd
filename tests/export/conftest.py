"""Exports, by the command as users type it."""

import pytest

from tests.helpers.commands import exit_status
from tiny_imagenet.export import check
from tiny_imagenet.export.__main__ import main


@pytest.fixture
def export(monkeypatch, tmp_path, capfd):
    """Export in an empty working directory with less to measure. Returns the exit status and the output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["export"])
    monkeypatch.setattr(check, "ROUNDS", 1)
    monkeypatch.setattr(check, "SECONDS", 0.0)

    def export(*argv: object) -> tuple[int, str]:
        status = exit_status(main, argv)
        out, err = capfd.readouterr()
        return status, out + err

    return export
