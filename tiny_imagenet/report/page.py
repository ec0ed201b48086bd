"""The report as files: one page that opens from disk, the tables as Markdown and CSV, the pictures as PNG."""

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader
from matplotlib.figure import Figure
from PIL import Image

from tiny_imagenet.errors import UserError
from tiny_imagenet.files import replace_bytes, replace_text
from tiny_imagenet.report.drawing import drawn
from tiny_imagenet.report.tables import in_csv, in_markdown, shown_text
from tiny_imagenet.report.text import printable

TEMPLATE = "page.html.jinja"
NO_BREAK_HYPHEN = "\u2011"
LONG = 70  # characters, of a cell that is wrapped
NAMES = ("run", "folder", "where")  # columns whose cells may break anywhere, to leave room for the others


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table; `name` becomes that of its files.

    `main` are the columns to show at first, in their order; all if there are none. `best` are the rows to mark.
    A folded table is shown after a click on its caption.
    """

    name: str
    caption: str
    content: pd.DataFrame
    main: Sequence[str] = ()
    best: Set[int] = frozenset()
    folded: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure or a photograph; `name` becomes that of its file."""

    name: str
    caption: str
    content: Figure | Image.Image


Item = Text | Table | Picture


@dataclass(frozen=True)
class Section:
    """A part of the report under a heading."""

    title: str
    items: Sequence[Item]


def write_report(out: Path, title: str, sections: Sequence[Section]) -> Path:
    """Write report.html, tables/ and pictures/ into a folder, and return the page's path.

    Raises:
        UserError: the folder can't be written.
    """
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True)  # fmt: skip
    slugs = [f"{number}-{_slug(section.title)}" for number, section in enumerate(sections, start=1)]
    try:
        page = environment.get_template(TEMPLATE).render(
            title=title,
            sections=[
                {
                    "slug": slug,
                    "title": section.title,
                    "groups": _groups(out, section.items),
                }
                for slug, section in zip(slugs, sections, strict=True)
            ],
        )
        replace_text(out / "report.html", page)
    except OSError as error:
        raise UserError(f"The report cannot be written to {out} ({error}). Choose another folder with --out.") from None
    return out / "report.html"


def _groups(out: Path, items: Sequence[Item]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Neighbours of one kind together: pictures stand side by side where the page is wide enough."""
    written = [_written(out, item) for item in items]
    return [(kind, list(group)) for kind, group in groupby(written, key=lambda item: item["kind"])]


def _written(out: Path, item: Item) -> dict[str, Any]:
    """Write an item's files, and return what the page shows of it."""
    match item:
        case Text():
            return {"kind": "text", "text": item.text}
        case Table():
            replace_text(out / "tables" / f"{item.name}.csv", in_csv(item.content))
            replace_text(out / "tables" / f"{item.name}.md", in_markdown(item.content))
            return {"kind": "table", "caption": item.caption, "folded": item.folded, **_table(item)}
        case Picture():
            picture = drawn(item.content)
            replace_bytes(out / "pictures" / f"{item.name}.{picture.extension}", picture.file)
            return {"kind": "picture", "caption": item.caption, "picture": picture}


def _table(table: Table) -> dict[str, Any]:
    shown = shown_text(table.content)
    names = [str(name) for name in shown.columns]
    main = [name for name in table.main if name in names] or names
    names = [*main, *(name for name in names if name not in main)]
    content = table.content[names]
    numeric = [pd.api.types.is_numeric_dtype(kind) for kind in content.dtypes]
    columns = [
        {
            "name": printable(name).replace("-", NO_BREAK_HYPHEN),
            "classes": _classes(n=number, name=name in NAMES, rest=name not in main),
        }
        for name, number in zip(names, numeric, strict=True)
    ]
    rows = [
        {
            "best": place in table.best,
            "cells": [_cell(*cell) for cell in zip(texts, values, columns, numeric, strict=True)],
        }
        for place, (texts, values) in enumerate(
            zip(shown[names].itertuples(index=False), content.itertuples(index=False), strict=True)
        )
    ]
    return {"columns": columns, "rows": rows, "hidden": len(names) - len(main)}


def _cell(text: str, value: Any, column: dict[str, str], number: bool) -> dict[str, str]:
    long = " long" * (len(text) > LONG)
    return {"text": text, "classes": column["classes"] + long, "value": repr(float(value)) if number and text else ""}


def _classes(**classes: bool) -> str:
    return " ".join(name for name, wanted in classes.items() if wanted)


def _slug(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")
