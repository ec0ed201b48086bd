"""From URL to folder, with servers and archives that misbehave in every way."""

import contextlib
import functools
import hashlib
import io
import json
import multiprocessing
import os
import signal
import stat
import subprocess
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tiny_imagenet.data import archive as archive_module
from tiny_imagenet.data import download as download_module
from tiny_imagenet.data.archive import extracted
from tiny_imagenet.errors import UserError

FILES = {"set/wnids.txt": b"n1\n", "set/train/n1/images/a.JPEG": os.urandom(200_000)}


def make_zip(path, files=FILES):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return path


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != archive_module.RECORD
    }


EXPECTED = {name.removeprefix("set/"): content for name, content in FILES.items()}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(download_module, "FIRST_DELAY", 0.001)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


class Server:
    """Serves one file at every path, in the way that each request in turn is told to."""

    def __init__(self, content):
        self.content, self.etag, self.ways, self.requests = content, '"1"', [], []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append(self.headers.get("Range"))
                way = outer.ways.pop(0) if outer.ways else "well"
                if isinstance(way, int):
                    self.send_error(way)
                    return
                if callable(way):
                    way()
                content, start = outer.content, 0
                if self.headers.get("Range") and self.headers.get("If-Range") == outer.etag and way != "no ranges":
                    start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
                self.send_response(206 if start else 200)
                self.send_header("ETag", outer.etag)
                self.send_header("Content-Type", "text/html" if way == "html" else "application/zip")
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                if way != "no length":
                    self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                body = content[start:]
                self.wfile.write(body[: len(body) // 2] if way == "stops" else body)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/small.zip"


@pytest.fixture
def server(tmp_path):
    server = Server(make_zip(tmp_path / "small.zip").read_bytes())
    yield server
    server.server.shutdown()


@pytest.mark.parametrize("ways", [[], ["no length"], [500, 503], ["stops", "stops"], ["stops", "no ranges"]], ids=str)
def test_a_download_comes_through_in_the_end(server, root, ways):
    server.ways = list(ways)
    folder = extracted([server.url], hashlib.md5(server.content).hexdigest(), root)
    assert folder == root / "small"
    assert contents(folder) == EXPECTED
    assert len(server.requests) == len([way for way in ways if way != "no length"]) + 1 - (ways[-1:] == ["no ranges"])
    assert sorted(path.name for path in root.iterdir()) == [".lock", "small", "small.zip"]


def test_a_broken_download_goes_on_where_it_was(server, root):
    server.ways = ["stops"]
    extracted([server.url], None, root)
    assert server.requests == [None, f"bytes={len(server.content) // 2}-"]


def test_a_file_that_changes_on_the_server_starts_over(server, root, tmp_path):
    def change():
        server.content = make_zip(tmp_path / "other.zip", {"set/new.txt": b"new" * 1000}).read_bytes()
        server.etag = '"2"'

    server.ways = ["stops", change]
    assert contents(extracted([server.url], None, root)) == {"new.txt": b"new" * 1000}


def test_nothing_is_done_a_second_time(server, root):
    extracted([server.url], None, root)
    before = (root / "small" / "wnids.txt").stat().st_mtime_ns
    extracted([server.url], None, root)
    assert len(server.requests) == 1
    assert (root / "small" / "wnids.txt").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("ways", "message"),
    [([404], "HTTP 404"), (["html"], "web page"), ([500] * 10, "HTTP 500"), (["stops"] * 10, None)],
    ids=str,
)
def test_a_server_that_does_not_have_it(server, root, ways, message):
    server.ways = list(ways)
    if message is None:  # Each attempt brings half of the rest, which is never all of it.
        message = "connection ended"
    with pytest.raises(UserError, match=message) as caught:
        extracted([server.url], None, root)
    assert "--data.archive FILE" in str(caught.value)
    assert "make quickstart" in str(caught.value)
    assert not (root / "small").exists()
    assert not (root / "small.zip").exists()


def test_the_next_source_is_tried(server, root):
    server.ways = [404]
    folder = extracted(["http://127.0.0.1:1/small.zip", server.url, server.url], None, root)
    assert contents(folder) == EXPECTED


def test_a_wrong_md5_names_both_and_removes_only_what_was_downloaded(server, root, tmp_path):
    with pytest.raises(UserError, match=f"MD5 is {hashlib.md5(server.content).hexdigest()}, not 0000"):
        extracted([server.url], "0000", root)
    assert not (root / "small.zip").exists()
    local = tmp_path / "small.zip"
    with pytest.raises(UserError, match="MD5 is"):
        extracted([str(local)], "0000", root)
    assert local.exists()
    assert not (root / "small").exists()


def test_local_paths_and_file_urls(root, tmp_path):
    (tmp_path / "my sets").mkdir()
    path = make_zip(tmp_path / "my sets" / "small set.zip")
    assert contents(extracted([str(path)], None, root)) == EXPECTED
    folder = extracted([path.as_uri()], None, root / "other")
    assert folder.name == "small set"
    assert contents(folder) == EXPECTED
    assert path.exists()
    with pytest.raises(UserError, match="no such file"):
        extracted([str(tmp_path / "nothing.zip")], None, root)


def test_another_archive_of_the_same_name_replaces_what_was_extracted(root, tmp_path):
    path = make_zip(tmp_path / "small.zip")
    extracted([str(path)], None, root)
    make_zip(path, {"set/new.txt": b"new"})
    assert contents(extracted([str(path)], None, root)) == {"new.txt": b"new"}
    path.unlink()
    assert contents(extracted([str(path)], None, root)) == {"new.txt": b"new"}, "the archive may go afterwards"


def member(name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, 3 if kind == tarfile.REGTYPE else 0
    return info


def zip_link(path):
    info = zipfile.ZipInfo("set/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")


def zip_lying(path):
    """The directory says 3 bytes, the data holds more."""
    make_zip(path, {"set/a": b"\0" * 1000})
    data = bytearray(path.read_bytes())
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = (3).to_bytes(4, "little")
    path.write_bytes(data)


HOSTILE = {
    "absolute.zip": functools.partial(make_zip, files={"/tmp/evil": b"x"}),
    "parent.zip": functools.partial(make_zip, files={"set/../../evil": b"x"}),
    "backslash.zip": functools.partial(make_zip, files={"..\\evil": b"x"}),
    "link.zip": zip_link,
    "lying.zip": zip_lying,
    "absolute.tar.gz": functools.partial(make_tar, members=[(member("/tmp/evil"), b"abc")]),
    "parent.tar.gz": functools.partial(make_tar, members=[(member("a/../../evil"), b"abc")]),
    "symlink.tar.gz": functools.partial(make_tar, members=[(member("link", tarfile.SYMTYPE, "/etc"), b"")]),
    "hardlink.tar.gz": functools.partial(make_tar, members=[(member("link", tarfile.LNKTYPE, "/etc/passwd"), b"")]),
    "device.tar.gz": functools.partial(make_tar, members=[(member("device", tarfile.CHRTYPE), b"")]),
    "twice.tar.gz": functools.partial(make_tar, members=[(member("a"), b"abc"), (member("a"), b"abc")]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_leaves_nothing(root, tmp_path, name):
    HOSTILE[name](tmp_path / name)
    with pytest.raises(UserError, match=name):
        extracted([str(tmp_path / name)], None, root)
    assert [path.name for path in root.iterdir()] == [".lock"]
    assert not (tmp_path / "evil").exists()


def test_a_bomb_is_stopped_before_it_is_written(root, tmp_path, monkeypatch):
    monkeypatch.setattr(archive_module, "SMALL_BYTES", 10_000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 10_000_000)
    with pytest.raises(UserError, match="unpacks to more than"):
        extracted([str(tmp_path / "bomb.zip")], None, root)
    assert [path.name for path in root.iterdir()] == [".lock"]


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
@pytest.mark.parametrize("keep", [0.5, 0.98])
def test_a_truncated_archive(root, tmp_path, suffix, keep):
    path = tmp_path / f"cut.{suffix}"
    if suffix == "zip":
        make_zip(path)
    else:
        info = tarfile.TarInfo("set/a")
        info.size = 200_000
        make_tar(path, [(info, os.urandom(200_000))])
    os.truncate(path, int(path.stat().st_size * keep))
    with pytest.raises(UserError, match="damaged|only the beginning"):
        extracted([str(path)], None, root)
    assert [path.name for path in root.iterdir()] == [".lock"]


def test_a_flipped_byte_is_noticed(root, tmp_path):
    path = make_zip(tmp_path / "flipped.zip")
    data = bytearray(path.read_bytes())
    data[100_000] ^= 255
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        extracted([str(path)], None, root)
    assert not (root / "flipped").exists()


def test_a_root_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made"):
        extracted([str(make_zip(tmp_path / "small.zip"))], None, tmp_path / "file" / "data")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize("remote", [True, False])
def test_a_full_disk(tmp_path, server, root, remote):
    root.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", root], capture_output=True).returncode:
        pytest.skip("this machine does not let us mount a small disk")
    try:
        with pytest.raises(UserError, match="No space left|are free at"):
            extracted([server.url if remote else str(tmp_path / "small.zip")], None, root)
        left = {path.name for path in root.iterdir()}
        assert left <= {".lock", "small.zip.part", "small.zip.part.json"}
    finally:
        subprocess.run(["umount", root], check=True)


def _extract_slowly(path, root, started):
    real = archive_module._checked

    def slow(*arguments):
        started.set()
        time.sleep(0.05)
        return real(*arguments)

    archive_module._checked = slow
    extracted([path], None, root)


@pytest.fixture
def processes():
    return multiprocessing.get_context("fork")


def test_killed_while_extracting_and_run_again(root, tmp_path, processes):
    path = make_zip(tmp_path / "many.zip", {f"set/{number}": b"content" for number in range(100)})
    started = processes.Event()
    process = processes.Process(target=_extract_slowly, args=(str(path), root, started))
    process.start()
    assert started.wait(20)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not (root / "many").exists()
    assert len(contents(extracted([str(path)], None, root))) == 100
    assert sorted(path.name for path in root.iterdir()) == [".lock", "many"]


def test_two_processes_at_once_do_the_work_once(root, tmp_path, processes):
    path = make_zip(tmp_path / "many.zip", {f"set/{number}": b"content" for number in range(20)})
    started = processes.Event()
    process = processes.Process(target=_extract_slowly, args=(str(path), root, started))
    process.start()
    assert started.wait(20)
    folder = extracted([str(path)], None, root)
    process.join()
    assert process.exitcode == 0
    assert len(contents(folder)) == 20
    assert json.loads((folder / archive_module.RECORD).read_text())["source"] == str(path)
    with contextlib.suppress(FileNotFoundError):
        assert not list(root.glob(".*unfinished"))
