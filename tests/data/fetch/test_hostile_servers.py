"""Servers that never come to an end, and damaged records of downloads: one message, in bounded time and room."""

import itertools
import json
import os
import socket
import threading
import time
from contextlib import suppress
from http.client import HTTPResponse

import pytest

from tests.helpers.archives import EXPECTED, contents
from tiny_imagenet.data import CIFAR10DataModule, TinyImageNetDataModule
from tiny_imagenet.data.fetch import archive, connection, download
from tiny_imagenet.data.fetch.archive import extracted
from tiny_imagenet.data.sets import base
from tiny_imagenet.errors import UserError

LIMIT = 1_000_000  # bytes of a download in these tests
HEADER = b"HTTP/1.1 200 OK\r\nContent-Type: application/zip\r\n"


@pytest.fixture(autouse=True)
def short_limits(monkeypatch):
    monkeypatch.setattr(download, "RETRY_DELAYS", (0.001,))
    monkeypatch.setattr(connection, "SECONDS", 0.3)
    monkeypatch.setattr(connection, "LEAST", 30_000)
    monkeypatch.setattr(download, "LEAST_SPEED", 100_000)


@pytest.fixture
def serve():
    """Send a sequence of (bytes, seconds to wait after them) in answer to every request. Returns a URL."""
    servers = []

    def serve(parts):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def answer(peer):
            with suppress(OSError), peer:
                peer.recv(10_000)
                for part, seconds in parts():
                    peer.sendall(part)
                    time.sleep(seconds)

        def accept():
            with suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}/set.zip"

    yield serve
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)  # or a thread would go on to accept
        server.close()


def slowly(content):
    return itertools.repeat((content, 0.02))


def quickly(content):
    return itertools.repeat((content, 0))


SLOW = "less than 30,000 bytes came in 0.3 s"
CHUNKED = HEADER + b"Transfer-Encoding: chunked\r\n\r\n"
REDIRECTION = b"HTTP/1.1 302 Found\r\nLocation: /set.zip\r\n\r\n"
ENDLESS = {  # what is told, whether a part is kept, and what the server sends
    "a byte now and then": (f"the connection broke: {SLOW}", True, HEADER + b"\r\n", slowly(b"x")),
    "a byte now and then of a header": (f"no connection: {SLOW}", False, HEADER + b"X: ", slowly(b"x")),
    "a byte now and then of the first line": (f"no connection: {SLOW}", False, b"HTTP/1.1 200 ", slowly(b"x")),
    "headers": ("no connection: got more than 100 headers", False, HEADER, quickly(b"X-A: b\r\n")),
    "a header": ("no connection: got more than 65536 bytes", False, HEADER + b"X: ", quickly(b"x" * 1000)),
    "100 Continue": (f"no connection: {SLOW}", False, b"", quickly(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "a chunk's length": (f"the connection broke: {SLOW}", True, CHUNKED + b"1\r\nx\r\n", slowly(b"0")),
    "lines after the last chunk": (f"the connection broke: {SLOW}", False, CHUNKED + b"0\r\n", quickly(b"X-A: b\r\n")),
    "a redirection's text": ("the server answered 302", False, REDIRECTION, quickly(b"x" * 10_000)),
    "nothing": (f"no connection: {SLOW}", False, b"", [(b"", 3)]),
}


@pytest.mark.parametrize(("reason", "kept", "begin", "more"), ENDLESS.values(), ids=ENDLESS)
def test_an_answer_that_never_ends(serve, root, reason, kept, begin, more):
    threads, began = threading.active_count(), time.monotonic()
    url = serve(lambda: itertools.chain([(begin, 0)], more))
    with pytest.raises(UserError) as caught:
        extracted([url], None, root)
    assert time.monotonic() - began < 5
    (told,) = [line for line in str(caught.value).splitlines() if url in line]
    assert told.startswith(f"  {url}: {reason}")
    assert sorted(os.listdir(root)) == [".lock", "set.zip.part", "set.zip.part.json"][: 3 if kept else 1]
    assert threading.active_count() <= threads + 10, "those of the server, which end with their connections"


@pytest.mark.parametrize("method", ["begin", "read1"])
def test_a_slow_server_is_named_even_if_the_ended_connection_is_reset(serve, root, monkeypatch, method):
    original = getattr(HTTPResponse, method)

    def reset_once_ended(self, *args):
        result = original(self, *args)
        if self._slow:  # what the system answers at times, if the server goes on sending
            raise ConnectionResetError("Connection reset by peer")
        return result

    monkeypatch.setattr(HTTPResponse, method, reset_once_ended)
    url = serve(lambda: itertools.chain([(HEADER + (b"\r\n" if method == "read1" else b"X: "), 0)], slowly(b"x")))
    with pytest.raises(UserError, match=SLOW):
        extracted([url], None, root)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"", "it goes on after the 1.0 MB allowed"),
        (b"Transfer-Encoding: chunked\r\n", "it goes on after the 1.0 MB allowed"),
        (b"Content-Length: 2000000\r\n", "its 2.0 MB are more than the 1.0 MB allowed"),
        (b"Content-Length: 999999999999999999\r\n", "its 1,000,000,000.0 GB are more than the 1.0 MB allowed"),
        (b"Content-Length: " + b"9" * 5000 + b"\r\n", "it goes on after the 1.0 MB allowed"),
        ("Content-Length: ²\r\n".encode("latin1"), "it goes on after the 1.0 MB allowed"),
        (b"Content-Length: -1\r\n", "it goes on after the 1.0 MB allowed"),
        (b"Content-Length: 1e3\r\n", "it goes on after the 1.0 MB allowed"),
    ],
)
def test_a_body_without_end_stays_below_the_limit(serve, root, header, message):
    chunk = b"186a0\r\n" + bytes(100_000) + b"\r\n"
    url = serve(lambda: itertools.chain([(HEADER + header + b"\r\n", 0)], quickly(chunk)))
    with pytest.raises(UserError, match=f"{url}: {message}"):
        extracted([url], None, root, largest=LIMIT)
    assert os.listdir(root) == [".lock"], "nothing of it is kept"


def test_a_byte_in_each_connection_is_no_progress(serve, root):
    """It would take a year: 248 million connections."""
    sent = itertools.count()

    def parts():
        start = next(sent)
        status = f"206 Partial Content\r\nContent-Range: bytes {start}-999999/1000000" if start else "200 OK"
        header = f'HTTP/1.1 {status}\r\nETag: "1"\r\nContent-Length: {1_000_000 - start}\r\n\r\n'
        return [(header.encode() + b"x", 0.05)] if start < 20 else [(b"HTTP/1.1 404 Not Found\r\n\r\n", 0)]

    with pytest.raises(UserError, match="attempts without progress"):
        extracted([serve(parts)], None, root)
    assert next(sent) == 2


def test_what_a_server_says_is_told_without_control_characters(serve, root, run):
    url = serve(lambda: [(b"HTTP/1.1 404 \x1b[2J\x07gone\r\nContent-Length: 0\r\n\r\n", 0)])
    status, output = run("fit", f"--data.archive={url}", f"--data.root={root}")
    assert status == 1 and r"the server answered 404 \x1b[2J\x07gone" in output
    assert "\x1b" not in output and "\x07" not in output


RECORDS = [
    *("", "[", "{}", "[1]", "5", "null", "[" * 50_000, "[" + "9" * 5000 + "]", "\0", "\xff" * 10),
    *('["URL", 5, 6, 7]', '["URL", "\\"1\\"", null, "7"]', '["URL", "\\"1\\"", null, [7]]', '["URL", {}, [], null]'),
    *('["URL", "\\"1\\"", null, Infinity]', '["URL", "\\"1\\"", null, NaN]', '["URL", "\\"1\\"", null, -5]'),
    *('["URL", "a\\r\\nX: y", null, null]', '["URL", "\\u20ac", null, null]', '["URL", null, "\\u0000", 400000]'),
    *(
        '["URL", "\\"1\\"", null, 1' + "0" * 400 + "]",
        '["URL", "\\"1\\"", null, true]',
        '["URL", "' + "x" * 200_000 + '"]',
    ),
]


@pytest.mark.parametrize("record", range(len(RECORDS)))
def test_a_damaged_record_starts_the_download_over(server, root, record):
    root.mkdir()
    (root / "set.zip.part").write_bytes(b"PK of something else")
    (root / "set.zip.part.json").write_text(RECORDS[record].replace("URL", server.url), encoding="latin-1")
    assert contents(extracted([server.url], None, root)) == EXPECTED


@pytest.mark.parametrize("name", ["set.zip.part", "set.zip.part.json"])
def test_a_pipe_in_place_of_a_part_is_replaced(server, root, name):
    root.mkdir()
    for part in {"set.zip.part", "set.zip.part.json"} - {name}:
        (root / part).write_text(json.dumps([server.url, '"1"', None, 100]))
    os.mkfifo(root / name)
    assert contents(extracted([server.url], None, root)) == EXPECTED


def test_an_archive_that_is_a_pipe_or_a_device_is_refused(tmp_path, root):
    os.mkfifo(tmp_path / "pipe.zip")
    os.symlink("/dev/zero", tmp_path / "zero.zip")
    for name in ("pipe.zip", "zero.zip"):
        with pytest.raises(UserError, match=f"{name}: it is a pipe or a device, not a file"):
            extracted([str(tmp_path / name)], None, root)


def test_the_known_archives_may_not_be_much_larger_than_they_are(monkeypatch, tmp_path):
    asked = []

    def found(sources, md5, root, largest):
        asked.append(largest)
        raise UserError("asked")

    monkeypatch.setattr(base, "extracted", found)
    for module in (TinyImageNetDataModule, CIFAR10DataModule):
        for options in ({}, {"md5": None}):
            with pytest.raises(UserError, match="asked"):
                module(str(tmp_path), **options)._folder  # noqa: B018
    assert asked == [250_000_000, archive.LARGEST, 180_000_000, archive.LARGEST]
