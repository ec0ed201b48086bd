"""The report as files: one page that opens from disk, the tables as Markdown and CSV, the pictures as PNG."""

import base64
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from tiny_imagenet.errors import UserError
from tiny_imagenet.files import replace_bytes, replace_text
from tiny_imagenet.report.tables import in_markdown, shown_text

DPI = 100
NO_BREAK_HYPHEN = "\u2011"
LONG = 70  # characters, of a cell that is wrapped


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table; `name` becomes that of its files."""

    name: str
    caption: str
    content: pd.DataFrame


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
    try:
        body = "".join(f'<h2 id="{_slug(s.title)}">{html.escape(s.title)}</h2>{_items(out, s)}' for s in sections)
        links = "".join(f'<a href="#{_slug(s.title)}">{html.escape(s.title)}</a>' for s in sections)
        title = html.escape(title)
        replace_text(out / "report.html", PAGE.format(title=title, links=links, body=body, style=STYLE))
    except OSError as error:
        raise UserError(f"The report cannot be written to {out} ({error}). Choose another folder with --out.") from None
    return out / "report.html"


def _items(out: Path, section: Section) -> str:
    parts = []
    for item in section.items:
        if isinstance(item, Text):
            parts.append(f"<p>{html.escape(item.text)}</p>")
        elif isinstance(item, Table):
            replace_text(out / "tables" / f"{item.name}.csv", item.content.to_csv(index=False, lineterminator="\n"))
            replace_text(out / "tables" / f"{item.name}.md", in_markdown(item.content))
            parts.append(
                f"<p class=caption>{html.escape(item.caption)}</p><div class=wide>{_table(item.content)}</div>"
            )
        else:
            file, content = _encoded(item)
            replace_bytes(out / "pictures" / file, content)
            kind = "jpeg" if file.endswith("jpg") else "png"
            source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
            caption = html.escape(item.caption)
            parts.append(f'<figure><img alt="{caption}" src="{source}"><figcaption>{caption}</figcaption></figure>')
    return "".join(parts)


def _table(table: pd.DataFrame) -> str:
    numeric = [pd.api.types.is_numeric_dtype(table[name]) for name in table.columns]
    head = "".join(f"<th>{html.escape(str(name)).replace('-', NO_BREAK_HYPHEN)}" for name in table.columns)
    rows = [
        "".join(
            f"<td{' class=n' * right or ' class=long' * (len(cell) > LONG)}>{html.escape(cell)}"
            for cell, right in zip(row, numeric, strict=True)
        )
        for row in shown_text(table).itertuples(index=False)
    ]
    return f"<table><thead><tr>{head}</thead><tbody>{''.join(f'<tr>{row}' for row in rows)}</tbody></table>"


def _encoded(picture: Picture) -> tuple[str, bytes]:
    """A picture's file name and content: figures are PNG; photographs JPEG, a fifth of the size."""
    content = io.BytesIO()
    if isinstance(picture.content, Figure):
        picture.content.savefig(content, dpi=DPI, format="png")
        return f"{picture.name}.png", content.getvalue()
    picture.content.save(content, "JPEG", quality=88)
    return f"{picture.name}.jpg", content.getvalue()


def _slug(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body><h1>{title}</h1><nav>{links}</nav>{body}</body></html>
"""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1180px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.5em } h2 { font-size: 1.2em; margin-top: 2.5em; border-bottom: 1px solid #ccc }
nav { display: flex; flex-wrap: wrap; gap: .3em 1.2em } a { color: #1a5fb4 }
.wide { overflow-x: auto } .caption, figcaption { color: #555; font-size: 13px; margin: 1em 0 .3em }
table { border-collapse: collapse; font-size: 13px }
th { text-align: left; vertical-align: bottom; background: #f4f4f4 }
th, td { padding: .25em .7em; border-bottom: 1px solid #e4e4e4 } td { white-space: nowrap }
.n { text-align: right } .long { white-space: normal } tbody tr:hover { background: #f4f8ff }
figure { margin: 1.2em 0 } img { max-width: 100%; height: auto }
"""
