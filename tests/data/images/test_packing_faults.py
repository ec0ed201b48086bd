"""Packing that goes wrong: one clear message, no cache half made, no process left behind."""

import multiprocessing
import os
import resource
import shutil
import signal
import time
from collections import namedtuple

import numpy as np
import pytest
from PIL import Image

from tests.helpers.archives import disk, in_process
from tests.helpers.jpegs import SIZE, by_pillow, packed_of, write_jpegs
from tests.helpers.tables import table
from tiny_imagenet.data import TinyImageNetDataModule
from tiny_imagenet.data.images import pack_workers, packed
from tiny_imagenet.errors import UserError

UNFINISHED = [f".train.partial-{os.getpid()}"]  # what packing goes on with


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(pack_workers, "CHUNK_BYTES", 20 * SIZE * SIZE * 3)  # several tasks for these few images
    return write_jpegs(tmp_path / "train")


def test_an_undecodable_image_is_named_and_no_pack_made(folder):
    broken = folder / "n02" / "7.JPEG"
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(UserError, match="n02/7.JPEG can't be decoded"):
        packed_of(folder)
    assert os.listdir(folder.parent / "packed") == UNFINISHED


def break_some(folder, number):
    names = [f"n{1 + n % 3:02}/{n}.JPEG" for n in range(number)]
    for name in names:
        (folder / name).write_bytes((folder / name).read_bytes()[:100])
    return names


def test_all_undecodable_images_are_named_at_once(folder):
    names = break_some(folder, 3)
    with pytest.raises(UserError) as caught:
        packed_of(folder)
    assert "3 of 90 images in " in str(caught.value) and "--data.on_bad_images skip" in str(caught.value)
    assert f"{', '.join(names)} (Truncated File Read)." in str(caught.value)
    assert os.listdir(folder.parent / "packed") == UNFINISHED


def test_many_undecodable_images_are_listed_in_a_file(folder):
    names = break_some(folder, 12)
    with pytest.raises(
        UserError,
        match=r"12 of 90 images .* \(12 in all\) \(Truncated File Read\)\. All are listed in .*train.unreadable.csv",
    ):
        packed_of(folder)
    assert sorted(os.listdir(folder.parent / "packed")) == [*UNFINISHED, "train.unreadable.csv"]
    listed = table(folder.parent / "packed" / "train.unreadable.csv")
    assert sorted(row["file"] for row in listed) == sorted(names)
    assert {row["reason"] for row in listed} == {"Truncated File Read"}


def test_undecodable_images_are_left_out_on_request(folder, caplog):
    whole = by_pillow(packed_of(folder))
    names = break_some(folder, 4)
    images = packed_of(folder, on_bad_images="skip")
    assert len(images) == 86 and not set(images.names) & set(names)
    kept = [row for row, name in enumerate(images.files.names) if name not in names]
    np.testing.assert_array_equal(images[np.arange(86)][0].permute(0, 2, 3, 1), whole[kept])
    assert images.labels.tolist() == [label for label in (0, 1, 2) for _ in range(30)][: 30 - 2] + [1] * 29 + [2] * 29
    np.testing.assert_allclose(images.mean_std()[0], whole[kept].reshape(-1, 3).mean(0) / 255, rtol=1e-10)
    assert "4 of 90 images in " in caplog.text and "are left out: n01/0.JPEG, " in caplog.text
    listed = folder.parent / "packed" / "train.unreadable.csv"
    assert sorted(row["file"] for row in table(listed)) == sorted(names)

    caplog.clear()
    assert len(packed_of(folder, on_bad_images="skip")) == 86
    assert "are left out" in caplog.text and "packing them again" not in caplog.text
    with pytest.raises(UserError, match="4 of 90 images"):
        packed_of(folder)


def test_broken_links_are_left_out_too(folder, caplog):
    for number in range(2):
        (folder / "n01" / f"gone{number}.jpg").symlink_to(folder / "nowhere" / f"{number}.jpg")
    with pytest.raises(UserError, match=r"2 of 92 images .*: n01/gone0.jpg, n01/gone1.jpg \(it is a broken link\)"):
        packed_of(folder)
    assert len(packed_of(folder, on_bad_images="skip")) == 90
    assert {row["reason"] for row in table(folder.parent / "packed" / "train.unreadable.csv")} == {
        "it is a broken link"
    }
    shutil.copy(folder / "n01" / "0.JPEG", folder.parent / "0.jpg")
    (folder / "nowhere").symlink_to(folder.parent)  # then one can be read
    assert len(packed_of(folder, on_bad_images="skip")) == 91


def test_images_that_were_left_out_are_tried_again_when_more_can_be_read(folder, caplog, monkeypatch):
    break_some(folder, 1)
    packed_of(folder, on_bad_images="skip")
    monkeypatch.setenv("TINY_IMAGENET_IMAGE_MB", "2000")
    with caplog.at_level("INFO", logger="tiny_imagenet"):
        packed_of(folder, on_bad_images="skip")
    assert "some that were left out may be readable now" in caplog.text


def test_the_list_goes_when_all_images_can_be_read(folder):
    good = (folder / "n01" / "0.JPEG").read_bytes()
    break_some(folder, 1)
    packed_of(folder, on_bad_images="skip")
    (folder / "n01" / "0.JPEG").write_bytes(good)
    assert len(packed_of(folder)) == 90
    assert os.listdir(folder.parent / "packed") == ["train"]


def test_a_class_without_readable_images_is_an_error_even_so(folder):
    for path in (folder / "n02").iterdir():
        path.write_bytes(b"<html>")
    with pytest.raises(UserError, match="no image of class n02 can be decoded: n02/0.JPEG, .*its content is not JPEG"):
        packed_of(folder, on_bad_images="skip")
    assert os.listdir(folder.parent / "packed") == UNFINISHED


def test_a_guessed_range_is_said_once(folder, caplog):
    for number in range(3):
        Image.fromarray(np.full((SIZE, SIZE), 4000, np.uint16)).save(folder / "n01" / f"{number}.JPEG", "PNG")
    with caplog.at_level("INFO", logger="tiny_imagenet"):
        images = packed_of(folder)
    assert "3 image(s) in " in caplog.text and "read as 0..4095." in caplog.text
    assert images.images[0].min() == images.images[0].max() == 249  # 4000 / 4095 * 255 = 249.08


def test_a_full_disk_is_said_beforehand(folder, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 10**6 - 1000, 1000))
    with pytest.raises(UserError, match="needs 73.4 kB, but only 1.0 kB are free"):
        packed_of(folder)
    assert os.listdir(folder.parent / "packed") == []


def test_a_disk_that_fills_up_is_said(folder):
    # A limit on the size of files stands for the full disk: writing fails in the same way.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        with pytest.raises(UserError, match="can't be packed at .*File too large"):
            packed_of(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(folder.parent / "packed") == UNFINISHED


@pytest.mark.parametrize("options", ["size=40k", "ro"])
def test_a_disk_that_is_full_or_read_only(folder, monkeypatch, options):
    free = namedtuple("usage", "total used free")(10**9, 0, 10**9)  # until others fill it
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    with disk(folder.parent / "packed", options) as packed:
        message = "Read-only file system" if options == "ro" else "No space left on device"
        with pytest.raises(UserError, match=f"can't be packed at .*{message}.*choose another --data.root"):
            packed_of(folder)
        assert os.listdir(packed) == ([] if options == "ro" else UNFINISHED)


def test_two_processes_at_once_pack_once(archive, tmp_path, monkeypatch):
    build = packed.build

    def counted(*args):
        with open(tmp_path / "count", "a") as file:
            file.write("x")
        time.sleep(0.2)
        build(*args)

    monkeypatch.setattr(packed, "build", counted)
    module = TinyImageNetDataModule(str(tmp_path / "data"), str(archive), None)
    processes = [in_process(lambda: module.setup("fit")) for _ in range(2)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert (tmp_path / "count").read_text() == "x"
    assert os.listdir(tmp_path / "data" / "small" / "packed") == ["train"]


def test_a_place_that_cant_be_written_is_said(folder):
    (folder.parent / "packed").write_text("in the way")
    with pytest.raises(UserError, match="can't be packed at .*packed"):
        packed_of(folder)


def test_a_folder_that_is_no_cache_is_not_deleted(folder):
    precious = folder.parent / "packed" / "train" / "precious.txt"
    precious.parent.mkdir(parents=True)
    precious.touch()
    with pytest.raises(UserError, match="can't be packed at .*not empty"):
        packed_of(folder)
    assert precious.exists()


def test_a_killed_worker_is_an_error_and_no_hang(folder, monkeypatch):
    monkeypatch.setattr(pack_workers, "decode_and_tell", lambda path, size: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(UserError, match="was killed"):
        packed_of(folder)
    assert os.listdir(folder.parent / "packed") == UNFINISHED


def test_a_killed_packing_leaves_no_cache_and_no_process(folder, monkeypatch):
    decode, log = pack_workers.decode_and_tell, folder.parent / "workers"

    def slowly(path, size):
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.05)
        return decode(path, size)

    monkeypatch.setattr(pack_workers, "decode_and_tell", slowly)
    process = multiprocessing.get_context("fork").Process(target=packed_of, args=(folder,))
    process.start()
    while not log.exists() or len(log.read_text().split()) < 10:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()

    assert os.listdir(folder.parent / "packed") == [f".train.partial-{process.pid}"]
    for worker in set(log.read_text().split()):
        for _ in range(500):
            if not running(worker):
                break
            time.sleep(0.01)
        assert not running(worker)
    monkeypatch.setattr(pack_workers, "decode_and_tell", decode)
    images = packed_of(folder)
    np.testing.assert_array_equal(images.images, by_pillow(images))
    assert os.listdir(folder.parent / "packed") == ["train"]


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
