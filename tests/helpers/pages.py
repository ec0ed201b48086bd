"""README.md and docs/: their text, and the commands that they print."""

import re
from pathlib import Path
from typing import NamedTuple

from tests.helpers.paths import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


class Command(NamedTuple):
    """A command as a page prints it, without comment, environment and redirection."""

    page: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def blocks(page: Path, language: str = "") -> list[str]:
    """The contents of a page's fenced blocks with this language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.M | re.S)
    return [content for named, content in found if named == language]


def commands(page: Path) -> list[Command]:
    """The commands in a page's blocks without a language, other than scripts; one for each line, continued by \\."""
    lines = [
        line.partition("  #")[0].strip()
        for block in blocks(page)
        if not block.startswith("#!")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [Command(page.name, re.sub(r"^(\w+=\S+ )+", "", line)) for line in lines if line]


def links(page: Path) -> list[tuple[Path, str]]:
    """The files that a page links to, and their sections ("" for none), as in [text](file#section)."""
    found = re.findall(r"\]\(([^):]*)\)", page.read_text())
    targets = [link.partition("#") for link in found]
    return [((page.parent / file) if file else page, section) for file, _, section in targets]


def sections(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
