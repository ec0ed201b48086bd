"""Checks many random, damaged examples of an input, within limits of time and memory."""

import copy
import math
import os
import resource
import signal
import time
import traceback
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

FAST = 200
EXAMPLES = [FAST, pytest.param(4000, marks=pytest.mark.slow)]
FEW_EXAMPLES = [FAST, pytest.param(1000, marks=pytest.mark.slow)]  # of what takes tens of milliseconds
MINUTES = float(os.environ.get("FUZZ_MINUTES", 0))  # minimum duration of each test, with new examples each time
SECONDS = 10  # limit for one example, on a busy machine
# Limit in KiB of what a test may add to peak memory: four times Pillow's limit of 89 million pixels of four bytes.
MEMORY = 2 << 20


class Hang(BaseException):
    """An example took too long. Not an Exception, which would count as a refusal of the input."""


def fuzz(check, examples, *inputs, seconds=SECONDS):
    """Call `check(*inputs)` with many examples; none may take more than `seconds`, or use too much memory."""

    def hang(*_):
        raise Hang

    def limited(example):
        nonlocal count
        count += 1
        signal.alarm(seconds)
        try:
            event(check(*example))
        finally:
            signal.alarm(0)

    count, began = 0, time.monotonic()
    before, handler = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, signal.signal(signal.SIGALRM, hang)
    rules = settings(
        max_examples=examples,
        derandomize=not MINUTES,  # so that a test that passed passes again
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            while count == 0 or time.monotonic() - began < 60 * MINUTES:
                rules(given(st.tuples(*inputs))(limited))()
    finally:
        signal.signal(signal.SIGALRM, handler)
    print(f"{count:,} examples in {(time.monotonic() - began) / 60:.1f} minutes")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY


def kind_of(error):
    """Where an error was raised and what caused it, so that the kinds can be counted."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(place.filename).name}:{place.lineno} {type(error.__cause__ or error.__context__).__name__}"


TOKENS = [
    b"\0" * 4,
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\1\0",
    b"../",
    b"/",
    b"9" * 12,
    b"\n",
    b"\t",
]
EDIT = st.tuples(
    st.sampled_from(["set", "set", "set", "flip", "flip", "flip", "cut", "copy", "insert", "end"]),
    st.integers(0, 600) | st.integers(0, 1 << 24),
    st.integers(1, 600),
    st.sampled_from(TOKENS) | st.binary(min_size=1, max_size=8),
)
DAMAGE = st.just([]) | st.lists(EDIT, min_size=1, max_size=2) | st.lists(EDIT, min_size=3, max_size=6)


def damaged(data, edits):
    data = bytearray(data)
    for kind, place, length, token in edits:
        at = place % (len(data) + 1)
        if kind == "set":
            data[at : at + len(token)] = token
        elif kind == "flip" and at < len(data):
            data[at] ^= 1 << length % 8
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "copy":
            data[at:at] = data[at : at + length]
        elif kind == "insert":
            data[at:at] = token
        elif kind == "end":
            del data[at:]
    return bytes(data)


# What a value of a YAML file may be instead.
ODD_VALUES = st.sampled_from(
    [
        *(None, True, False, 0, 1, -1, 10**6, 10**18, 10**400, 0.5, 1e-300, 1e308, math.inf, -math.inf, math.nan),
        *("", "x", "0.1", "1e-3", "null", "-", "--x", "a=b", ".", "..", "/", "/dev/zero", "é", "\x1b[2J", "\0"),
        *("x" * 10_000, "9" * 4000, "\n", "a\nb", "{", "[1, 2", "*a", "!!int x", "torch.optim.Adam", "EMA", "os.fork"),
        *([], {}, [None], [[]], [1, "a"], {"a": {"b": 1}}, {1: 2}, {None: None}, {True: []}, [{}], {"class_path": "x"}),
        *({"class_path": 1, "init_args": 2}, {"class_path": "EMA", "init_args": []}, {"init_args": {"a": 1}}),
    ]
)
CHANGE = st.tuples(st.sampled_from(["set", "set", "set", "rename", "drop", "nest"]), st.integers(0, 10_000), ODD_VALUES)


def changed(value, changes):
    """A nested value of a YAML file with some of its parts changed."""
    value = copy.deepcopy(value)
    for kind, number, odd in changes:
        places, odd = list(_places(value)), copy.deepcopy(odd)
        if not places:
            return odd
        inside, key = places[number % len(places)]
        if kind == "rename" and isinstance(inside, dict):
            inside[odd if odd.__hash__ else "x"] = inside.pop(key)
        elif kind == "drop":
            del inside[key]
        elif kind == "nest":
            inside[key] = [inside[key], odd] if number % 2 else {"a": inside[key]}
        else:
            inside[key] = odd
    return value


def _places(value):
    if isinstance(value, dict | list):
        for key, each in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, key
            yield from _places(each)
