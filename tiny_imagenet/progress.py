"""Progress of one long task: a bar on a terminal, a line now and then in a log file."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress(task: str, total: int | None, unit: str, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Yields a function to be called with how much more is done.

    Args:
        total: amount at the end, null where it is not known. done: amount at the beginning.
    """
    with tqdm(total=total, initial=done, desc=task, unit=unit, unit_scale=True, disable=None) as bar:
        spoke = time.monotonic()

        def advance(amount: int) -> None:
            nonlocal done, spoke
            if not bar.disable:
                bar.update(amount)
                return
            done += amount
            if time.monotonic() - spoke > SECONDS_BETWEEN_LINES:
                spoke = time.monotonic()
                of = f" of {tqdm.format_sizeof(total, unit)}" if total else ""
                log.info(f"{task}: {tqdm.format_sizeof(done, unit)}{of}")

        yield advance
