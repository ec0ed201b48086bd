"""Damaged and invented checkpoints: a command works, or says in one line what is wrong and has changed nothing."""

import math
import resource
import shutil
import time

import pytest
import torch
from hypothesis import strategies as st

from tests.helpers.copying import copy_run
from tests.helpers.fuzzing import DAMAGE, damaged, fuzz
from tests.helpers.networks import small as network
from tests.helpers.options import callback
from tiny_imagenet.classifier import ImageClassifier
from tiny_imagenet.errors import user_message
from tiny_imagenet.run.checkpoint_files import require_checkpoint

HALF = "--trainer.max_steps=12"  # of 16 steps, in the middle of the second epoch
TRAININGS = {
    "plain": [],
    "averaged": [
        "--model.optimizer=Adam", "--model.scheduler=OneCycleLR", "--model.scheduler.max_lr=0.01",
        "--model.scheduler.total_steps=16", "--model.scheduler_interval=step", *callback("EMA", decay=0.9),
        *callback("EarlyStopping", monitor="val/loss"), *callback("ConditionNumbers"),
    ],
}  # fmt: skip
EXAMPLES = 30  # they take seconds where they are not refused
SECONDS = 20  # of the processor, for one use of a checkpoint
WAITING = 600  # seconds for one example, on a busy machine
MEMORY = 1 << 20  # KiB that one example may add

# What takes the place of a part.
OTHERS = [
    None, True, -1, 0, 1, 7, 2**31, 2**63, 2**70, 1.5, math.nan, math.inf, 1e308, "", "x", "\n\033[1m", b"x", [], [1],
    ["a"], {}, {"a": 1}, {0: {}}, (), (1, 2), {1}, 1j, torch.tensor(1.0), torch.tensor(math.nan), torch.ones(1),
    torch.ones(0), torch.ones(3, dtype=torch.int64),
    torch.ones(2, 2, dtype=torch.complex64), torch.ones(4, device="meta"),
    torch.ones(1).expand(10**6, 10**6), torch.ones(2, 2).to_sparse(), list(range(10**5)), "y" * 10**6,
]  # fmt: skip
KINDS = ("set", "set", "set", "drop", "add", "double", "nest", "swap", "deep")
PLACE = st.lists(st.integers(0, 255), min_size=1, max_size=8)
EDIT = st.tuples(st.sampled_from(KINDS), PLACE, PLACE, st.integers(0, len(OTHERS) - 1))


def place_of(content, picks):
    """A container somewhere in the content, and a key of it."""
    holder = key = None
    for pick in picks:
        if not isinstance(content, dict | list) or not content:
            break
        keys = list(content) if isinstance(content, dict) else range(len(content))
        holder, key = content, keys[pick % len(keys)]
        content = content[key]
    return holder, key


def edit(content, kind, picks, other_picks, number):
    holder, key = place_of(content, picks)
    if holder is None:
        return
    value = holder[key]
    if kind == "set":
        holder[key] = OTHERS[number]
    elif kind == "drop":
        del holder[key]
    elif kind == "add":
        holder.update({f"{key}2": OTHERS[number]}) if isinstance(holder, dict) else holder.append(OTHERS[number])
    elif kind == "double" and isinstance(value, list | str):
        holder[key] = value * 2
    elif kind == "nest":
        holder[key] = {"a": [value]}
    elif kind == "swap":
        other, other_key = place_of(content, other_picks)
        if other is not None:
            holder[key] = other[other_key]
    elif kind == "deep":
        for _ in range(300):  # three of them can still be saved
            value = [value]
        holder[key] = value


def files(version):
    return {path: path.read_bytes() for path in version.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.fixture(params=TRAININGS)
def check(request, finished_run, run, small, tmp_path):
    """Use a run whose last checkpoint a function has changed, in all ways; returns what came of it."""
    options = [*small, *TRAININGS[request.param]]
    original = finished_run(*options, HALF)
    version = tmp_path / original.relative_to(original.parents[2])
    last = version / "checkpoints" / "last.ckpt"

    def in_time(use):
        began = time.process_time()
        answer = use()
        assert time.process_time() - began < SECONDS
        return answer

    def refused(use):
        try:
            in_time(use)
        except Exception as error:
            if (message := user_message(error)) is None:
                raise
            assert len(message) < 2000
            return True
        return False

    def check(change):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if version.exists():
            shutil.rmtree(version)
        copy_run(original, version)
        change(last)
        answers = [
            refused(lambda: network(weights=str(last), classes=4)),
            refused(lambda: ImageClassifier.load_from_checkpoint(last)),
            refused(lambda: require_checkpoint(last, training=True)),
        ]
        # A training reads all that a validation reads, and more.
        command = "fit" if not answers[2] else "validate" if not answers[1] else None
        if command:
            kept = files(version)
            argv = [command, *options, "--trainer.logger=false", f"--ckpt_path={last}"]
            status, output = in_time(lambda: run(*argv))
            assert status in (0, 1) and "Traceback" not in output, output
            errors = [line for line in output.splitlines() if line.startswith("error: ")]
            assert len(errors) == status, output
            if status:
                assert output.rstrip().endswith(errors[0]), "one line"
                now = files(version)
                assert {path: now.get(path) for path in kept} == kept, "nothing has changed"
            answers.append(bool(status))
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY
        return "".join("-+"[not answer] for answer in answers)

    return check


@pytest.mark.slow
def test_parts_that_were_changed(check):
    def with_edits(edits):
        def change(last):
            content = torch.load(last, weights_only=True)
            for each in edits:
                edit(content, *each)
            torch.save(content, last)

        return check(change)

    fuzz(with_edits, EXAMPLES, st.lists(EDIT, min_size=1, max_size=3), seconds=WAITING)


@pytest.mark.slow
def test_bytes_that_were_changed(check):
    fuzz(lambda edits: check(lambda last: last.write_bytes(damaged(last.read_bytes(), edits))), EXAMPLES, DAMAGE,
         seconds=WAITING)  # fmt: skip
