"""Progress of one long task: a bar on a terminal, a line now and then in a log file."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from tiny_imagenet.files import size_text

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BEFORE_BAR = 0.5  # what ends sooner shows none


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
                log.info(f"{task}: {_text(done, total, unit)}")

        yield advance


def _text(done: int, total: int | None, unit: str) -> str:
    if unit == "B":
        return size_text(done) + (f" of {size_text(total)}" if total else "")
    return f"{done:,}" + (f" of {total:,}" if total else "") + f" {unit}"
