"""A pytest plugin that writes the message of each fault: pytest -p tests.helpers.messages --messages FILE.md

One row for each test that passes and in which a UserError was created or an argument refused.
"""

import re
import sys
import tempfile
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT
from tiny_imagenet.cli import app as cli
from tiny_imagenet.errors import UserError

MESSAGES: dict[str, list[str]] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--messages", type=Path, required=True, help="Markdown file to write")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item):
    messages: list[str] = []

    def init(error: UserError, *args: object) -> None:
        # Those of several parts are of an image file: its path, a reason and advice.
        path, *others = args or ("",)
        messages.append(f"{path} can't be decoded: {others[0]}. {others[1]}" if others else str(path))

    def message(error: Exception) -> str | None:
        text = original(error)
        return messages.append(text or "") or text

    original = cli.error_message
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UserError, "__init__", init)
        patch.setattr(cli, "error_message", message)
        outcome = yield
    if messages and outcome.excinfo is None:
        MESSAGES[item.nodeid] = list(dict.fromkeys(filter(None, messages)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    lines = ["| test | message |", "|---|---|"]
    for test, messages in MESSAGES.items():
        shown = "<br>".join(_shown(message) for message in messages[:3])
        lines.append(f"| {test.removeprefix('tests/')} | {shown} |")
    session.config.getoption("messages").write_text("\n".join(lines) + "\n")


def _shown(message: str) -> str:
    """A message as a table cell, with `…` in place of the folders of the test and the project."""
    message = message.replace(sys.executable, "python").replace(str(ROOT), "…")
    message = re.sub(rf"{re.escape(tempfile.gettempdir())}/pytest-of-\w+/pytest-\w+/[^/\s]+", "…", message)
    return re.sub(r"\s*\n\s*", "<br>", message).replace("|", "\\|").replace("<class", "&lt;class")
