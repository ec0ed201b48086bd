"""A plugin of pytest that writes what users are told of each fault: pytest -p tests.helpers.messages --messages FILE.md

One row for each test that passes and in which a UserError was made, or an argument refused.
"""

import re
import tempfile
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT
from tiny_imagenet.cli import app as cli
from tiny_imagenet.errors import UserError

TOLD: dict[str, list[str]] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--messages", type=Path, required=True, help="Markdown file to write")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item):
    told: list[str] = []

    def init(error: UserError, *args: object) -> None:
        told.append(str(args[0]) if args else "")

    def message(error: Exception) -> str | None:
        text = plain(error)
        return told.append(text or "") or text

    plain = cli._message
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UserError, "__init__", init)
        patch.setattr(cli, "_message", message)
        outcome = yield
    if told and outcome.excinfo is None:
        TOLD[item.nodeid] = list(dict.fromkeys(filter(None, told)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    lines = ["| test | message |", "|---|---|"]
    for test, messages in TOLD.items():
        shown = "<br>".join(_shown(message) for message in messages[:3])
        lines.append(f"| {test.removeprefix('tests/')} | {shown} |")
    session.config.getoption("messages").write_text("\n".join(lines) + "\n")


def _shown(message: str) -> str:
    """A message in a cell of a table, with `…` for the folders of the test and of the project."""
    message = message.replace(str(ROOT), "…")
    message = re.sub(rf"{re.escape(tempfile.gettempdir())}/pytest-of-\w+/pytest-\w+/[^/\s]+", "…", message)
    return re.sub(r"\s*\n\s*", "<br>", message).replace("|", "\\|").replace("<class", "&lt;class")
