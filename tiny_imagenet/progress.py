"""What is said on a terminal or in a log file: lines, and the progress of long work."""

import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tqdm import tqdm

from tiny_imagenet.errors import legible_lines
from tiny_imagenet.files import size_text

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BEFORE_BAR = 0.5  # shorter tasks show no bar


def say(text: str) -> None:
    """Print lines to stdout, above a bar if there is one. A terminal or pipe that is gone is no error."""
    try:
        tqdm.write(legible_lines(text), file=sys.stdout)
        sys.stdout.flush()
    except OSError:  # the window was closed, or the pipe's reader has ended
        _discard(sys.stdout)


def _discard(stream: object) -> None:
    """Let a stream that nobody reads any more write to nowhere: at exit, Python would fail to flush it."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextmanager
def progress(task: str, total: int | None, unit: str, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with how much more is done.

    Args:
        total: amount at the end, None where it is not known.
        unit: what is counted, such as images; `B` counts bytes.
        done: amount at the beginning.
    """
    is_bytes = unit == "B"
    with tqdm(
        total=total, initial=done, desc=task, unit=unit if is_bytes else f" {unit}", unit_scale=is_bytes,
        delay=SECONDS_BEFORE_BAR, disable=None, dynamic_ncols=True,
    ) as bar:  # fmt: skip
        spoke = time.monotonic()

        def advance(amount: int) -> None:
            nonlocal done, spoke
            if not bar.disable:
                bar.update(amount)
                return
            done += amount
            if time.monotonic() - spoke > SECONDS_BETWEEN_LINES:
                spoke = time.monotonic()
                log.info(f"{task}: {_amounts(done, total, unit)}")

        yield advance


def _amounts(done: int, total: int | None, unit: str) -> str:
    if unit == "B":
        return size_text(done) + (f" of {size_text(total)}" if total else "")
    return f"{done:,}" + (f" of {total:,}" if total else "") + f" {unit}"


def duration_text(seconds: float) -> str:
    """A duration as people read it: 40 s, 1 min 20 s, 3 h 05 min."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"


def loss_text(loss: float) -> str:
    """A loss in few characters: 2.283, or 4.7e5 above 1,000."""
    if not math.isfinite(loss) or abs(loss) < 1000:
        return f"{loss:.3f}"
    mantissa, exponent = f"{loss:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"
