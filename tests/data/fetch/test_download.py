"""Downloads from a server that breaks off, changes its mind, or has something else."""

import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import signal
import time
from collections import namedtuple

import pytest

from tests.helpers.archives import EXPECTED, change_disk, contents, disk, in_process, write_zip
from tiny_imagenet.data.fetch import download
from tiny_imagenet.data.fetch.archive import extracted
from tiny_imagenet.errors import UserError


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(download, "RETRY_DELAYS", (0.001,) * 4)


@pytest.mark.parametrize(
    ("faults", "requests"),
    [
        ([], [0]),
        (["no length"], [0]),
        ([500, 503], [0, 0, 0]),
        (["stops", "stops"], [0, 0.5, 0.75]),
        (["stops"] * 9, [0, *(1 - 0.5**number for number in range(1, 10))]),
        (["stops", 500, 500, 500], [0, 0.5, 0.5, 0.5, 0.5]),
        (["stops", "ignores ranges"], [0, 0.5]),
        (["stops", "web page"], None),
        ([429], [0, 0]),
    ],
    ids=str,
)
def test_how_a_download_comes_through(server, root, faults, requests):
    server.faults = list(faults)
    md5 = hashlib.md5(server.content).hexdigest()
    if requests is None:
        with pytest.raises(UserError, match="web page"):
            extracted([server.url], md5, root)
        assert (root / "set.zip.part").stat().st_size == len(server.content) // 2, "the part outlives a captive portal"
        requests = [0, 0.5, 0.5]
    assert contents(extracted([server.url], md5, root)) == EXPECTED
    starts = [int((asked or "bytes=0-")[6:-1]) for asked in server.requests]
    assert starts == pytest.approx([share * len(server.content) for share in requests], abs=len(requests))
    assert sorted(path.name for path in root.iterdir()) == [".lock", "set", "set.zip"]
    assert (root / "set.zip").read_bytes() == server.content


def test_a_download_reaches_the_disk_before_it_gets_its_name(server, root, monkeypatch):
    synced = []
    monkeypatch.setattr(download, "to_disk", lambda path: synced.append((path, path.stat().st_size, os.listdir(root))))
    extracted([server.url], None, root)
    ((path, size, names),) = synced
    assert path == root / "set.zip.part" and size == len(server.content) and "set.zip" not in names


@pytest.mark.parametrize("etag", ['"2"', 'W/"2"', None])
def test_a_file_that_changes_between_the_parts_starts_over(server, root, tmp_path, etag):
    def change():
        server.content, server.etag = write_zip(tmp_path / "b.zip", {"set/new.txt": b"new" * 70_000}).read_bytes(), etag

    server.etag = etag and etag.replace("2", "1")
    server.faults = ["stops", change]
    assert contents(extracted([server.url], None, root)) == {"new.txt": b"new" * 70_000}
    assert server.requests[1], "the second request was for the rest"
    assert len(server.requests) == (2 if etag == '"2"' else 3), "If-Range spares the third"


@pytest.mark.parametrize("same", [True, False])
def test_a_part_beyond_the_end(server, root, tmp_path, same):
    """416: the part is the whole file, whose length was not known, or the file has become shorter."""
    server.etag = None
    server.faults = ["stops"] + [500] * 4
    with pytest.raises(UserError, match="500"):
        extracted([server.url], None, root)
    record = root / "set.zip.part.json"
    record.write_text(json.dumps([server.url, "x", None, None]))
    if same:
        (root / "set.zip.part").write_bytes(server.content)
    else:
        server.content = write_zip(tmp_path / "b.zip", {"set/new.txt": b"new"}).read_bytes()
    server.etag, server.requests = "x", []
    assert contents(extracted([server.url], None, root)) == (EXPECTED if same else {"new.txt": b"new"})
    assert len(server.requests) == (1 if same else 2)


@pytest.mark.parametrize(
    ("faults", "message", "requests"),
    [
        ([404], "404 Not Found", 1),
        ([403], "403 Forbidden", 1),
        ([500] * 9, r"500 Internal Server Error \(5 attempts", 5),
        (["web page"], "a web page instead of an archive", 1),
        (["no length, stops"], r"[\d,]+ bytes are not a complete zip or tar archive", 1),
    ],
    ids=str,
)
def test_a_server_that_does_not_have_it(server, root, faults, message, requests):
    server.faults = list(faults)
    with pytest.raises(UserError, match=message) as caught:
        extracted([server.url], None, root)
    assert server.url in str(caught.value)
    assert "--data.archive FILE --data.md5 null" in str(caught.value)
    assert "make quickstart" in str(caught.value)
    assert len(server.requests) == requests
    assert [path.name for path in root.iterdir()] == [".lock"]


def test_the_next_source_is_tried_and_all_are_named(server, root):
    dead = "http://127.0.0.1:1/set.zip"
    server.faults = [404]
    assert contents(extracted([dead, server.url, server.url], None, root)) == EXPECTED
    with pytest.raises(
        UserError, match=f"(?s){dead}: no connection: .*refused.*/elsewhere/set.zip: there is no such file"
    ):
        extracted([dead, "/elsewhere/set.zip"], "0" * 32, root)


def test_a_wrong_md5_names_both_once_and_keeps_what_was_downloaded(server, root, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    whole, found, kept = server.content, hashlib.md5(server.content).hexdigest(), root / "set.zip.wrong-md5"
    for _ in range(2):  # the second is downloaded again, in place of the first
        with pytest.raises(UserError) as caught:
            extracted([server.url], "0" * 32, root)
        told = f"{server.url}: the MD5 of its {len(whole):,} bytes is {found}, not {'0' * 32}. It is kept as {kept};"
        assert told in str(caught.value)
        assert f"if you trust it: --data.archive {kept} --data.md5 null" in str(caught.value)
        assert (str(caught.value) + caplog.text).count(found) == 1
        assert sorted(path.name for path in root.iterdir()) == [".lock", kept.name]
        assert kept.read_bytes() == whole
    assert contents(extracted([str(kept)], None, root)) == EXPECTED, "what the message advises"
    assert (root / "set").is_dir() and kept.read_bytes() == whole, "as the archive that it stands for; it is not moved"
    server.content = write_zip(tmp_path / "b.zip", {"set/new.txt": b"new"}).read_bytes()
    md5 = hashlib.md5(server.content).hexdigest()
    assert contents(extracted([server.url], md5, root)) == {"new.txt": b"new"}
    assert sorted(path.name for path in root.iterdir()) == [".lock", "set", "set.zip"], "the right one replaces it"


def test_a_local_file_of_a_wrong_md5_stays_where_it_is(server, root, tmp_path):
    local, found = tmp_path / "served.zip", hashlib.md5(server.content).hexdigest()
    with pytest.raises(UserError, match=f"{local}: the MD5 of its .* is {found}, not {'0' * 32}"):
        extracted([str(local)], "0" * 32, root)
    assert local.read_bytes() == server.content
    assert [path.name for path in root.iterdir()] == [".lock"]


def test_what_is_no_whole_archive_is_not_kept(server, root):
    server.content = server.content[:-100]
    found = hashlib.md5(server.content).hexdigest()
    with pytest.raises(UserError, match=f"are not a complete zip or tar archive .MD5 {found} instead of {'0' * 32}"):
        extracted([server.url], "0" * 32, root)
    assert [path.name for path in root.iterdir()] == [".lock"]


def test_a_kept_download_makes_room_where_the_disk_is_full(server, root):
    with disk(root, "size=500k"):  # room for one archive of 300 kB, not for two
        for _ in range(2):
            with pytest.raises(UserError, match="not 0000"):
                extracted([server.url], "0" * 32, root)
            assert sorted(os.listdir(root)) == [".lock", "set.zip.wrong-md5"]


def test_a_resumed_part_that_turns_out_wrong_is_fetched_once_more(server, root):
    server.faults = ["stops"] + [404]
    with pytest.raises(UserError):
        extracted([server.url], None, root)
    part = root / "set.zip.part"
    part.write_bytes(bytes(part.stat().st_size))
    assert contents(extracted([server.url], None, root)) == EXPECTED


def test_a_download_of_another_md5_is_replaced(server, root):
    root.mkdir()
    (root / "set.zip").write_bytes(b"PK of something else")
    assert contents(extracted([server.url], hashlib.md5(server.content).hexdigest(), root)) == EXPECTED


def test_a_damaged_download_is_removed_so_that_the_next_call_gets_it_again(server, root):
    whole = server.content
    server.content = whole.replace(b"one", b"two", 1)  # The zip's own sum of that file is now wrong.
    with pytest.raises(UserError, match="The download was removed"):
        extracted([server.url], None, root)
    server.content = whole
    assert contents(extracted([server.url], None, root)) == EXPECTED


def test_free_space_is_asked_for_first(server, root, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(1000))
    with pytest.raises(UserError, match=f"{root} needs {len(server.content) / 1000:.1f} kB, but only 1.0 kB are free"):
        extracted([server.url], None, root)
    assert os.listdir(root) == [".lock"]


@pytest.mark.parametrize("options", ["size=100k", "ro"])
def test_a_disk_that_is_full_or_read_only(server, root, monkeypatch, options):
    """Full in the middle of the file, as where another program writes at the same time."""
    monkeypatch.setattr(download, "require_free", lambda *_: None)
    with disk(root, options):
        with pytest.raises(UserError, match="Make it writable" if options == "ro" else "No space left.*Free some"):
            extracted([server.url], None, root)
        if options == "ro":
            assert os.listdir(root) == []
            return
        assert sorted(os.listdir(root)) == [".lock", "set.zip.part", "set.zip.part.json"], "it can be gone on with"
        change_disk(root, "size=4m")
        assert contents(extracted([server.url], None, root)) == EXPECTED
        assert int(server.requests[1].removeprefix("bytes=").removesuffix("-")) > 50_000


def test_a_download_that_may_not_grow(server, root):
    """RLIMIT_FSIZE stops it in the middle, as a quota would; in its own process, since it can't be raised again."""
    receive, send = multiprocessing.Pipe(duplex=False)

    def work():
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            extracted([server.url], None, root)
        except UserError as error:
            send.send(str(error))

    in_process(work).join()
    assert receive.poll(1)
    assert f"set.zip.part ({len(server.content) / 1000:.1f} kB) can't be written: File too large" in receive.recv()


@pytest.mark.parametrize(("module", "name", "count"), [(time, "sleep", 1), (os, "replace", 1)])
def test_killed_while_downloading_and_run_again(server, root, monkeypatch, module, name, count):
    """After half of the file; with the whole file there, but not yet under its name."""
    server.faults = ["stops"] if name == "sleep" else []
    calls, original = [], getattr(module, name)

    def last(*args):
        calls.append(args)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, last)
        process = in_process(lambda: extracted([server.url], None, root))
        process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (root / "set.zip.part").exists()
    assert contents(extracted([server.url], None, root)) == EXPECTED
    assert sum(asked is None for asked in server.requests) == 1, "what was there was not fetched again"
    assert sorted(path.name for path in root.iterdir()) == [".lock", "set", "set.zip"]


def test_two_processes_at_once_do_the_work_once(server, root, caplog):
    caplog.set_level(logging.INFO)
    processes = [in_process(lambda: extracted([server.url], None, root)) for _ in range(2)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert server.requests == [None]
    assert contents(root / "set") == EXPECTED
