"""Progress of one long task: a bar on a terminal, a line now and then in a log file."""

import io
import logging
import re
import sys

import pytest

from tiny_imagenet import progress as module
from tiny_imagenet.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A function that lets stderr be a terminal, where a bar shows at once."""

    def terminal() -> Terminal:
        # In the test itself, since pytest sets stderr anew after the fixtures.
        monkeypatch.setattr(sys, "stderr", shown := Terminal())
        monkeypatch.setattr(module, "SECONDS_BEFORE_BAR", 0)
        return shown

    return terminal


@pytest.fixture
def clock(monkeypatch, caplog):
    """Let stderr be a file, and set the clock: `clock(seconds)`."""
    caplog.set_level(logging.INFO, "tiny_imagenet")
    now = 100.0

    def set_to(seconds: float) -> None:
        nonlocal now
        now = 100.0 + seconds

    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    return set_to


def test_a_terminal_gets_a_bar_and_no_lines(terminal, caplog, monkeypatch):
    stderr = terminal()
    caplog.set_level(logging.INFO, "tiny_imagenet")
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", -1)
    with progress("Packing", 4, "images") as advance:
        advance(1)
        advance(3)
    last = stderr.getvalue().rstrip().split("\r")[-1]
    assert re.search(r"^Packing: 100%\|.*\| 4/4 \[.* images/s\]", last), last
    assert not caplog.messages


def test_a_bar_counts_bytes_in_their_units_and_begins_where_the_task_does(terminal):
    stderr = terminal()
    with progress("Downloading", 4_000_000, "B", done=1_000_000) as advance:
        advance(1_000_000)
    shown = stderr.getvalue()
    assert re.search(r"Downloading: +25%\|.*\| 1\.00M/4\.00M ", shown)
    assert re.search(r"Downloading: +50%\|.*\| 2\.00M/4\.00M ", shown)


def test_a_bar_without_a_total_counts_up(terminal):
    stderr = terminal()
    with progress("Downloading", None, "B") as advance:
        advance(2500)
    assert re.search(r"Downloading: 2\.50kB \[", stderr.getvalue())


def test_a_short_task_shows_no_bar(terminal, monkeypatch):
    stderr = terminal()
    monkeypatch.setattr(module, "SECONDS_BEFORE_BAR", 60)
    with progress("Packing", 4, "images") as advance:
        advance(2)
    assert stderr.getvalue().strip() == ""


def test_a_log_file_gets_a_line_every_so_often(clock, caplog, capsys):
    with progress("Packing", 1_234_567, "images") as advance:
        advance(100)
        clock(module.SECONDS_BETWEEN_LINES)
        advance(100)  # not yet later
        clock(module.SECONDS_BETWEEN_LINES + 1)
        advance(1_000)
        advance(1_000)  # too soon after the one before
        clock(2 * module.SECONDS_BETWEEN_LINES + 2)
        advance(1)
    assert caplog.messages == ["Packing: 1,200 of 1,234,567 images", "Packing: 2,201 of 1,234,567 images"]
    assert "%|" not in capsys.readouterr().err, "and no bar"


@pytest.mark.parametrize(
    ("total", "unit", "expected"),
    [
        (10_000_000, "B", "Reading: 1.5 MB of 10.0 MB"),
        (None, "B", "Reading: 1.5 MB"),
        (2_000_000, "files", "Reading: 1,500,000 of 2,000,000 files"),
        (None, "files", "Reading: 1,500,000 files"),
    ],
)
def test_a_line_tells_bytes_as_people_read_them_and_counts_in_full(clock, caplog, total, unit, expected):
    with progress("Reading", total, unit, done=500_000) as advance:
        clock(60)
        advance(1_000_000)
    assert caplog.messages == [expected]


def test_a_task_that_ends_soon_is_told_in_no_line(clock, caplog):
    with progress("Reading", 2, "files") as advance:
        advance(2)
    assert not caplog.messages


def test_a_task_that_fails_ends_its_bar(terminal):
    stderr = terminal()
    with pytest.raises(ValueError), progress("Packing", 4, "images") as advance:
        advance(1)
        raise ValueError
    assert stderr.getvalue().endswith("\n")


def test_bytes_of_a_name_that_are_not_utf8_are_escaped(monkeypatch):
    monkeypatch.setattr(sys, "stdout", shown := io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    module.say("caf\udce9, café")
    assert shown.buffer.getvalue() == "caf\\xe9, café\n".encode()
