"""Packing that was stopped goes on: with the pixels of packing in one go, and without decoding anything twice."""

import json
import os
import re
import shutil
import signal
import time
from collections import namedtuple
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.archives import change_disk, disk, in_process
from tests.helpers.jpegs import CLASSES, SIZE, by_pillow, packed_of, write_jpegs
from tiny_imagenet.data.fetch.archive import locked
from tiny_imagenet.data.images import pack_workers, unfinished
from tiny_imagenet.data.images.packed import pack
from tiny_imagenet.data.images.scan import scan_classes
from tiny_imagenet.data.images.unfinished import Unfinished
from tiny_imagenet.errors import UserError

PER_TASK = 10


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(pack_workers, "CHUNK_BYTES", PER_TASK * SIZE * SIZE * 3)
    monkeypatch.setattr(unfinished, "SECONDS", 0)
    monkeypatch.setattr(unfinished, "to_disk", lambda path: None)  # a process is killed here, not the power cut
    return write_jpegs(tmp_path / "train")


@pytest.fixture
def decoded(folder, monkeypatch):
    """Note each file that is decoded, in whatever process. Returns those noted since the last call, each once.

    What a killed process has started is still at work for a moment, and is decoded again.
    """
    decode, notes = pack_workers.decode_and_tell, folder.parent / "notes"

    def noting(path, size):
        with open(notes, "a") as file:
            file.write(f"{Path(path).relative_to(folder)}\n")
        return decode(path, size)

    def take():
        names = set(notes.read_text().split()) if notes.exists() else set()
        notes.unlink(missing_ok=True)
        return names

    monkeypatch.setattr(pack_workers, "decode_and_tell", noting)
    return take


def slowly(folder, seconds=0.05):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a package that other tests import may have set handlers
    signal.signal(signal.SIGINT, signal.default_int_handler)
    decode = pack_workers.decode_and_tell
    pack_workers.decode_and_tell = lambda *args: time.sleep(seconds) or decode(*args)
    packed_of(folder)


def stop(folder, number=signal.SIGKILL, tasks=3):
    """Pack in another process, and end it by a signal once some tasks are noted as done."""
    process = in_process(partial(slowly, folder))
    while len(lines_of(folder)) < tasks:
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode != 0
    assert not (folder.parent / "packed" / "train").exists()


def lines_of(folder):
    return [line for path in (folder.parent / "packed").glob(".train.*/done.jsonl") for line in path.open("rb")]


def content(cache):
    return {path.name: path.read_bytes() for path in cache.iterdir()}


def require_as_in_one_go(folder):
    images = packed_of(folder)
    np.testing.assert_array_equal(images.images, by_pillow(images))
    once = pack(scan_classes(folder, CLASSES), SIZE, folder.parent / "once")
    assert content(images.cache) == content(once.cache)
    assert os.listdir(folder.parent / "packed") == ["train"]
    shutil.rmtree(once.cache)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_packing_goes_on_after_a_kill(folder, decoded, caplog, number):
    stop(folder, number)
    known = PER_TASK * len(lines_of(folder))
    decoded()
    with caplog.at_level("INFO"):
        packed_of(folder)
    again = decoded()
    assert len(again) == 90 - known
    assert f"{known} of 90 images in {folder} are packed already." in caplog.text
    require_as_in_one_go(folder)


def test_it_goes_on_after_several_kills(folder):
    for tasks in (2, 4, 6):
        stop(folder, tasks=tasks)
    assert len(list((folder.parent / "packed").iterdir())) == 1
    require_as_in_one_go(folder)


def touch(folder, name):
    os.utime(folder / name, (1, 1))


def exchange(folder, name):
    Image.new("RGB", (SIZE, SIZE), "red").save(folder / name)


def remove(folder, name):
    (folder / name).unlink()


def add(folder, name):
    shutil.copy(folder / name, (folder / name).with_name(f"{Path(name).stem}a.JPEG"))


def rename(folder, name):
    (folder / name).rename((folder / name).with_suffix(".jpg"))


@pytest.mark.parametrize("change", [touch, exchange, remove, add, rename])
def test_what_changed_since_the_kill_is_decoded_again(folder, decoded, change, task=4):
    stop(folder, tasks=7)
    known = PER_TASK * len(lines_of(folder))
    decoded()
    change(folder, packed_names(folder)[PER_TASK * task])
    packed_of(folder)
    again = decoded()
    if change in (touch, exchange):
        assert len(again) == 90 - known + PER_TASK
    else:
        assert len(again) <= 91 - PER_TASK * task, "what is sorted before it is kept"
    require_as_in_one_go(folder)


def packed_names(folder):
    return scan_classes(folder, CLASSES).names


def test_a_change_that_is_taken_back_after_a_second_kill(folder, monkeypatch):
    name = packed_names(folder)[0]
    before, status = (folder / name).read_bytes(), (folder / name).stat()
    stop(folder, tasks=7)
    exchange(folder, name)
    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "_save", lambda self: os._exit(1))  # its pixels are written, which is not noted yet
        process = in_process(lambda: packed_of(folder))
        process.join()
    assert process.exitcode == 1 and not (folder.parent / "packed" / "train").exists()
    (folder / name).write_bytes(before)
    os.utime(folder / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    require_as_in_one_go(folder)


@pytest.mark.parametrize("garbage", [b'{"start": 0, "sour', b"\xff\xfe\n", b"[]\n3\n{}\n", b'{"start": []}\n'])
def test_a_line_that_a_power_cut_spoiled_is_ignored(folder, decoded, garbage):
    stop(folder, tasks=3)
    (path,) = (folder.parent / "packed").glob(".train.*/done.jsonl")
    path.write_bytes(path.read_bytes()[:-5] + garbage)
    known = PER_TASK * (len(path.read_bytes().splitlines()) - len(garbage.splitlines()))
    decoded()
    packed_of(folder)
    assert len(decoded()) == 90 - known, "the lines before it hold"
    require_as_in_one_go(folder)


@pytest.mark.parametrize("name", [unfinished.PIXELS, unfinished.SUMS])
def test_no_task_is_noted_before_its_pixels_are_on_the_disk(folder, monkeypatch, name):
    def fail(path):
        if path.name == name:
            raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(unfinished, "to_disk", fail)
    with pytest.raises(UserError, match="Input/output error"):
        packed_of(folder)
    assert lines_of(folder) == []
    monkeypatch.undo()
    require_as_in_one_go(folder)


@pytest.mark.parametrize("known", ["size", "decoded_by"])
def test_pixels_of_another_size_or_decoder_are_not_used(folder, decoded, known):
    stop(folder, tasks=3)
    decoded()
    (path,) = (folder.parent / "packed").glob(".train.*/done.jsonl")
    lines = [json.loads(line) | {known: "other"} for line in path.open()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    packed_of(folder)
    assert len(decoded()) == 90
    require_as_in_one_go(folder)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_pack_is_whole_as_soon_as_it_has_its_name(folder, moment):
    """Killed when all is written, just before or after the folder is renamed."""
    rename = os.rename

    def ending(source, target):
        if moment == "after":
            rename(source, target)
        os._exit(1)

    def pack_until_then():
        os.rename = ending
        packed_of(folder)

    process = in_process(pack_until_then)
    process.join()
    assert process.exitcode == 1
    assert (folder.parent / "packed" / "train").exists() == (moment == "after")
    if moment == "after":
        assert set(content(packed_of(folder).cache)) == {"done.jsonl", "meta.json", "pixels.npy", "sums.npy"}
        touch(folder, packed_names(folder)[0])
    require_as_in_one_go(folder)


def test_a_process_that_waits_goes_on_where_the_killed_one_stopped(folder, decoded):
    def slowly_locked(seconds):
        with locked(folder.parent):
            slowly(folder, seconds)

    one, two = (in_process(partial(slowly_locked, seconds)) for seconds in (0.01, 0))
    while len(lines_of(folder)) < 3:
        time.sleep(0.01)
    os.kill(one.pid, signal.SIGKILL)
    known = PER_TASK * len(lines_of(folder))
    decoded()
    two.join()
    assert two.exitcode == 0
    assert len(decoded()) <= 90 - known and (folder.parent / "packed" / "train").exists()
    require_as_in_one_go(folder)


def test_refused_images_can_be_skipped_without_decoding_the_others_again(folder, decoded):
    (folder / "n02" / "7.JPEG").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UserError, match="n02/7.JPEG can't be decoded"):
        packed_of(folder)
    decoded()
    images = packed_of(folder, on_bad_images="skip")
    assert decoded() == set() and len(images) == 89 and "n02/7.JPEG" not in images.names


def test_they_are_tried_again_when_more_can_be_read(folder, decoded, monkeypatch):
    (folder / "n02" / "7.JPEG").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UserError, match="n02/7.JPEG can't be decoded"):
        packed_of(folder)
    decoded()
    monkeypatch.setenv("TINY_IMAGENET_IMAGE_MB", "2000")
    packed_of(folder, on_bad_images="skip")
    assert len(decoded()) == PER_TASK


def test_a_guessed_range_is_told_of_all_images(folder, caplog):
    for name in packed_names(folder)[::PER_TASK]:
        Image.fromarray(np.full((SIZE, SIZE), 4000, np.uint16)).save(folder / name, "PNG")
    stop(folder)
    with caplog.at_level("INFO", logger="tiny_imagenet"):
        packed_of(folder)
    assert "9 image(s) in " in caplog.text and "read as 0..4095." in caplog.text


def test_a_killed_worker_costs_only_what_it_did(folder, decoded, monkeypatch):
    decode = pack_workers.decode_and_tell

    def deadly(path, size):
        if str(path).endswith("n03/7.JPEG"):
            time.sleep(0.5)  # the others get on
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(path, size)

    monkeypatch.setattr(pack_workers, "decode_and_tell", deadly)
    with pytest.raises(UserError, match="was killed.* packing goes on where it stopped"):
        packed_of(folder)
    assert 3 <= len(lines_of(folder)) < 9
    known = PER_TASK * len(lines_of(folder))
    decoded()
    monkeypatch.setattr(pack_workers, "decode_and_tell", decode)
    packed_of(folder)
    assert len(decoded()) == 90 - known
    require_as_in_one_go(folder)


def test_a_full_disk_needs_as_much_as_is_said(folder, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**9, 0, 10**9)  # until others fill it
    with disk(folder.parent / "packed", "size=64k") as packed:
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda path: usage)
            with pytest.raises(UserError) as caught:
                packed_of(folder)
        said = re.search(r"(\d+) of 90 images are packed, and the rest needs ([\d.]+) kB. Free some", str(caught.value))
        assert int(said[1]) == PER_TASK * len(lines_of(folder)) > 0
        assert float(said[2]) == round((90 - int(said[1])) * (3 * SIZE * SIZE + 48) / 1000, 1)
        with pytest.raises(UserError, match=rf"needs {re.escape(said[2])} kB, but only .* are free"):
            packed_of(folder)
        used = shutil.disk_usage(packed).used
        change_disk(packed, f"size={used + round(float(said[2]) * 1000) + 4 * 4096}")  # and the rest of some pages
        require_as_in_one_go(folder)
