"""Times alternatives in turns, so that other work on the machine affects all of them alike."""

import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from tiny_imagenet.benchmark.cpu import cpu_seconds
from tiny_imagenet.progress import progress

# Of a contestant, `images_per_s` and `images_per_cpu_s` in each round.
Rates = dict[str, list[float]]

# Seconds in which worker processes have prepared all that they may. With longer steps they keep up with each.
FILLING = 2.0


@dataclass
class Contestant:
    """One of the alternatives.

    Args:
        step: does one piece of work and returns the number of images in it.
        untimed: pieces at the start of each turn that are not counted, because worker processes had prepared them;
            fewer if they take longer than FILLING.
        ahead: pieces that worker processes prepare after each turn; the next turn starts when they had time to do so,
            FILLING at most.
        beside: makes a context for each turn, such as a busy process on the same machine.
    """

    step: Callable[[], int]
    untimed: int = 1
    ahead: int = 0
    beside: Callable[[], AbstractContextManager] = nullcontext


def race(contestants: Mapping[str, Contestant], rounds: int, seconds: float, task: str = "race") -> dict[str, Rates]:
    """The rates of each contestant; a turn takes `seconds`, or as long as one piece if that is longer.

    A contestant that raises an error, such as a failing compiler, leaves the race, and its error is printed. Progress
    is shown as that of `task`.
    """
    found: dict[str, Rates] = {name: {"images_per_s": [], "images_per_cpu_s": []} for name in contestants}
    idle_at = 0.0  # when the workers of the last turn have prepared their next pieces
    with progress(task, rounds * len(found), "turns") as advance:
        for _ in range(rounds):
            for name in list(found):
                time.sleep(max(0.0, idle_at - time.perf_counter()))
                try:
                    with contestants[name].beside():
                        images, pieces, taken, computed = _turn(contestants[name], seconds)
                    found[name]["images_per_s"].append(images / taken)
                    found[name]["images_per_cpu_s"].append(images / computed if computed else math.nan)
                    idle_at = time.perf_counter() + min(contestants[name].ahead * taken / max(pieces, 1), FILLING)
                except Exception as error:
                    print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)
                    del found[name]
                advance(1)
    return found


def _turn(contestant: Contestant, seconds: float) -> tuple[int, int, float, float]:
    """How many images and pieces were done, and the seconds and CPU-seconds that this took."""
    start = time.perf_counter()
    for _ in range(contestant.untimed):
        contestant.step()
        if time.perf_counter() - start > FILLING:
            break
    synchronize()
    images, pieces, start, computed = 0, 0, time.perf_counter(), cpu_seconds()
    while time.perf_counter() - start < seconds:
        images += contestant.step()
        pieces += 1
    synchronize()
    return images, pieces, time.perf_counter() - start, cpu_seconds() - computed


def ratio(rates: Mapping[str, Rates], of: str, to: str) -> float:
    """How many times as fast as another a contestant is: the median over the rounds, which each have both.

    NaN if one of them has left the race.
    """
    if not {of, to} <= rates.keys():
        return math.nan
    pairs = zip(rates[of]["images_per_s"], rates[to]["images_per_s"], strict=True)
    return statistics.median(one / other for one, other in pairs)


def synchronize() -> None:
    """Wait until the device has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
