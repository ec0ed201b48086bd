"""Files that anyone may have written, read in bounded time and memory."""

import os
import re
import stat
from pathlib import Path
from typing import Any

import yaml

from tiny_imagenet.errors import first_line
from tiny_imagenet.files import size_text

LARGEST_YAML = 1_000_000  # bytes; a run's config has 3 kB
MOST_VALUES = 100_000  # in YAML, an alias counting as all that it stands for; a run's config has 200
MOST_LEVELS = 100  # of nesting in YAML
LONGEST_NUMBER = 4300  # characters: Python's own limit, which sexagesimal numbers (1:59:59) evade
_TAG = re.compile(r"constructor for the tag 'tag:yaml.org,2002:([^']+)'")
_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_file(path: Path, largest: int) -> bytes:
    """The content of a regular file. A pipe or a device, which might never end, is refused without waiting for it.

    Args:
        largest: size in bytes, at most.

    Raises:
        OSError: it can't be opened.
        ValueError: it is no regular file, or larger.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path.name} is not a regular file")
        if status.st_size > largest:
            raise ValueError(f"{path.name} has {size_text(status.st_size)}, more than {size_text(largest)}")
        return file.read(largest)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # not on Windows


def read_yaml(path: Path) -> Any:
    """The plain values of a YAML file; a date stays text.

    Raises:
        OSError: it can't be opened.
        ValueError: it is no YAML of plain values, or beyond the limits above. The message is a line.
    """
    content = read_file(path, LARGEST_YAML)
    try:
        require_bounded(content)
        try:
            return yaml.load(content, _Loader)
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            raise ValueError(f"a value is not what its !!tag says ({first_line(error)})") from None
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or first_line(error)
        if tag := _TAG.search(problem):
            problem = f"it has the YAML tag !!{tag[1]}, which no plain value has"
        raise ValueError(f"{problem} (line {mark.line + 1})" if mark else problem) from None


def require_bounded(content: str | bytes) -> None:
    """Refuse YAML that is small but dangerous: aliases of aliases make gigabytes, deep nesting crashes libyaml 0.2.5.

    Raises:
        ValueError: it has too many values or levels, too long a number, or an alias of what it is in.
        yaml.YAMLError: it is no YAML.
    """
    values, sizes = 0, {}
    around: list[tuple[str | None, int]] = []  # anchor of each collection that is open, and `values` before it
    for event in yaml.parse(content, _SafeLoader):
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = around.pop()
            sizes[anchor] = values - before
            continue
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(f"its alias *{event.anchor} stands for nothing that ends before it")
            values += sizes[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            around.append((event.anchor, values))
            values += 1
        elif isinstance(event, yaml.ScalarEvent):
            sizes[event.anchor] = 1
            values += 1
            text_by_quotes = event.implicit[1]
            if len(event.value) > LONGEST_NUMBER and not text_by_quotes and event.value.lstrip("+-")[:1].isdigit():
                raise ValueError(f"it has a number of {len(event.value):,} characters")
        if values > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES:,} values")
        if len(around) > MOST_LEVELS:
            raise ValueError("it is nested too deeply")


class _Loader(_SafeLoader):
    """Leaves dates as text, as options are."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in _SafeLoader.yaml_implicit_resolvers.items()
}
