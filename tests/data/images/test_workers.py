"""Processes that decode: one that takes too long for a file is ended, and only that file is lost."""

import gc
import io
import multiprocessing
import os
import signal
import time
from multiprocessing.util import register_after_fork

import numpy as np
import pytest
from PIL import Image

from tests.helpers.jpegs import SIZE, by_pillow, packed_of, write_jpegs
from tests.helpers.tables import table
from tiny_imagenet.data.images import limits, pack_workers, workers
from tiny_imagenet.data.images.decode import abilities
from tiny_imagenet.data.images.loose import LooseImages
from tiny_imagenet.data.images.workers import KilledError, Workers
from tiny_imagenet.errors import UserError

TOO_SLOW = "it takes more than 1 s: if you trust the file, set the environment variable TINY_IMAGENET_IMAGE_SECONDS=10"


def slow_jpeg():
    """A progressive JPEG of 64 megapixels, whose last scan is repeated; libjpeg takes seconds for 400 kB."""
    Image.new("L", (8000, 8000), "white").save(data := io.BytesIO(), "JPEG", progressive=True)
    data = data.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + 90 * data[last:-2] + data[-2:]


@pytest.fixture
def slow(monkeypatch):
    """The content of a file that takes three seconds, where less than one is allowed."""
    monkeypatch.setenv(limits.TIME, "1")
    monkeypatch.setattr(workers, "time_limit", lambda: 0.3)
    return slow_jpeg()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(pack_workers, "CHUNK_BYTES", 20 * SIZE * SIZE * 3)  # several tasks for these few images
    return write_jpegs(tmp_path / "train")


def test_a_file_that_takes_too_long_is_refused_in_packing(folder, slow):
    (folder / "n02" / "7.JPEG").write_bytes(slow)
    with pytest.raises(UserError) as caught:
        packed_of(folder)
    assert f"{folder / 'n02/7.JPEG'} can't be decoded: {TOO_SLOW}. " in str(caught.value)
    assert not multiprocessing.active_children()


def test_files_that_take_too_long_are_left_out_and_listed(folder, slow, monkeypatch):
    whole, names = by_pillow(packed_of(folder)), ["n01/3.JPEG", "n01/4.JPEG", "n03/29.JPEG"]
    for name in names:
        (folder / name).write_bytes(slow)
    images = packed_of(folder, on_bad_images="skip")
    kept = [row for row, name in enumerate(images.files.names) if name not in names]
    np.testing.assert_array_equal(images[np.arange(87)][0].permute(0, 2, 3, 1), whole[kept])
    listed = table(folder.parent / "packed" / "train.unreadable.csv")
    assert {row["file"]: row["reason"] for row in listed} == dict.fromkeys(names, TOO_SLOW)


def test_a_file_that_takes_too_long_is_skipped_in_prediction(folder, slow):
    (folder / "n02" / "7.JPEG").write_bytes(slow)
    images = LooseImages(folder, SIZE)
    row = images.names.index("n02/7.JPEG")
    expected = {each: np.asarray(Image.open(folder / images.names[each]).convert("RGB")) for each in range(90)} | {
        row: 0
    }
    for rows in np.array_split(np.arange(90), 2):
        pixels, found = images[rows]
        assert found.tolist() == [each for each in rows if each != row]
        for image, each in zip(pixels.permute(0, 2, 3, 1).numpy(), found.tolist(), strict=True):
            np.testing.assert_array_equal(image, expected[each])
    assert images.why_unreadable(row) == TOO_SLOW
    assert LooseImages(folder, SIZE).why_unreadable(row) == TOO_SLOW, "as another process asks"
    assert images.why_unreadable(0) == "it could not be read before, but can be now: start again"
    del images
    gc.collect()
    assert not multiprocessing.active_children()


def test_only_computing_counts_and_not_waiting(monkeypatch):
    monkeypatch.setenv(limits.TIME, "1")

    def work(task, late, begin):
        begin(0)
        time.sleep(1.5)
        begin(None)
        return late

    assert list(Workers(work, 1).results(["a"])) == [(0, frozenset())]


def test_many_files_of_a_task_that_take_too_long(monkeypatch):
    monkeypatch.setattr(workers, "time_limit", lambda: 0.1)

    def work(task, late, begin):
        for place in range(task):
            begin(place)
            while place % 3 == 0 and place not in late:
                pass
        begin(None)
        return sorted(late)

    found = dict(Workers(work, 2).results([1, 2, 4, 7]))
    assert found == {0: [0], 1: [0], 2: [0, 3], 3: [0, 3, 6]}


def test_processes_are_kept_for_the_next_tasks_and_end_together():
    pool = Workers(lambda task, late, begin: (task, os.getpid()), 2)
    first, second = (dict(pool.results(range(6))) for _ in range(2))
    assert [first[place][0] for place in range(6)] == list(range(6))
    assert {pid for _, pid in first.values()} == {pid for _, pid in second.values()}
    pool.close()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("error", [OSError(28, "No space left", "x"), UserError("wrong"), ZeroDivisionError()])
def test_what_the_work_raises_is_raised_here(error):
    def work(task, late, begin):
        begin(0)
        raise error

    with pytest.raises(type(error)) as caught:
        list(Workers(work, 2).results(range(10)))
    assert str(caught.value) == str(error)
    assert not multiprocessing.active_children()


def test_a_process_that_still_has_the_handler_of_its_parent_ends(monkeypatch):
    def serve(*args):
        while True:
            time.sleep(1)

    monkeypatch.setattr(workers, "_serve", serve)
    pool = Workers(None, 1)
    before = signal.signal(signal.SIGTERM, lambda *args: None)
    try:
        pool._workers.append(workers._Worker(None, 1))
        pool.close()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not multiprocessing.active_children()


def test_ctrl_c_before_a_process_can_ignore_it_does_not_end_it():
    class Owner:
        """The hook is called in each process that is forked while this lives."""

    owner = Owner()
    register_after_fork(owner, lambda _: os.kill(os.getpid(), signal.SIGINT))
    assert dict(Workers(lambda task, late, begin: 2 * task, 2).results(range(4))) == {0: 0, 1: 2, 2: 4, 3: 6}


def test_a_process_that_dies_otherwise_is_an_error():
    with pytest.raises(KilledError):
        list(Workers(lambda task, late, begin: os.kill(os.getpid(), signal.SIGKILL), 2).results(range(10)))


def test_packs_of_before_stay_valid_unless_another_time_is_allowed(monkeypatch):
    usual = abilities()
    assert usual.endswith(", 1000000000")
    monkeypatch.setenv(limits.TIME, "60")
    assert abilities() == usual
    monkeypatch.setenv(limits.TIME, "600")
    assert abilities() == f"{usual}, 600"
    for wrong in ("0", "-1", "1.5", "many", "9" * 5000, "²"):
        monkeypatch.setenv(limits.TIME, wrong)
        with pytest.raises(UserError, match=f"{limits.TIME} must be a number of seconds"):
            limits.time_limit()
