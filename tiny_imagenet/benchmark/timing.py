"""Times alternatives in turns, so that other work on the machine affects all of them alike."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from tiny_imagenet.progress import progress


@dataclass
class Contestant:
    """One of the alternatives.

    Args:
        step: does one piece of work and returns the number of images in it.
        untimed: pieces at the start of each turn that are not counted, because worker processes had prepared them.
        ahead: pieces that worker processes prepare after each turn; the next turn starts when they had time to do so.
    """

    step: Callable[[], int]
    untimed: int = 1
    ahead: int = 0


def race(
    contestants: Mapping[str, Contestant], rounds: int, seconds: float, task: str = "race"
) -> dict[str, list[float]]:
    """Images/s of each contestant in each round; a turn takes `seconds`, or as long as one piece if that is longer.

    A contestant that raises an error, such as a failing compiler, leaves the race, and its error is printed. Progress
    is shown as that of `task`.
    """
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    idle_at = 0.0  # when the workers of the last turn have prepared their next pieces
    with progress(task, rounds * len(rates), "turns") as advance:
        for _ in range(rounds):
            for name in list(rates):
                time.sleep(max(0.0, idle_at - time.perf_counter()))
                try:
                    rate, taken = _turn(contestants[name], seconds)
                    rates[name].append(rate)
                    idle_at = time.perf_counter() + contestants[name].ahead * taken
                except Exception as error:
                    print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)
                    del rates[name]
                advance(1)
    return rates


def _turn(contestant: Contestant, seconds: float) -> tuple[float, float]:
    """Images/s, and the seconds of a piece."""
    for _ in range(contestant.untimed):
        contestant.step()
    synchronize()
    images, pieces, start = 0, 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        images += contestant.step()
        pieces += 1
    synchronize()
    taken = time.perf_counter() - start
    return images / taken, taken / max(pieces, 1)


def ratio(rates: Mapping[str, list[float]], of: str, to: str) -> float:
    """How many times as fast as another a contestant is: the median over the rounds, which each have both."""
    return statistics.median(one / other for one, other in zip(rates[of], rates[to], strict=True))


def synchronize() -> None:
    """Wait until the device has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
