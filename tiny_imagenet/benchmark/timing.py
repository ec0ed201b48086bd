"""Several ways to do the same, timed in turns, so that what else the machine does touches all of them alike."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass
class Contestant:
    """Work that is timed piece by piece.

    step: does one piece and returns how many images that was. untimed: pieces at the beginning of each turn that do not
    count, since worker processes had them ready. ahead: pieces that worker processes get ready after each turn; nobody
    else is timed until they had the time for it.
    """

    step: Callable[[], int]
    untimed: int = 1
    ahead: int = 0


def race(contestants: Mapping[str, Contestant], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Images/s of each contestant in each of the rounds; a turn takes `seconds`, or as long as one piece does.

    One that raises an error, such as a compiler that is not whole, leaves the race, and its error is printed.
    """
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name in list(rates):
            try:
                rates[name].append(_turn(contestants[name], seconds))
            except Exception as error:
                print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)
                del rates[name]
    return rates


def _turn(contestant: Contestant, seconds: float) -> float:
    for _ in range(contestant.untimed):
        contestant.step()
    synchronize()
    images, pieces, start = 0, 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        images += contestant.step()
        pieces += 1
    synchronize()
    taken = time.perf_counter() - start
    time.sleep(contestant.ahead * taken / max(pieces, 1))
    return images / taken


def ratio(rates: Mapping[str, list[float]], of: str, to: str) -> float:
    """How many times as fast one contestant is as another: the median over the rounds, each of which has both."""
    return statistics.median(one / other for one, other in zip(rates[of], rates[to], strict=True))


def synchronize() -> None:
    """Wait until the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
