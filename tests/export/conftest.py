"""Exports, by the command as users type it."""

import pytest

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
        status = 0
        try:
            main([str(argument) for argument in argv])
        except SystemExit as leaving:
            status = leaving.code or 0
            if isinstance(status, str):
                print(status)
                status = 1
        out, err = capfd.readouterr()
        return status, out + err

    return export
