"""Servers that never come to an end, and damaged records of downloads: one message, in bounded time and room."""

import itertools
import json
import os
import socket
import threading
import time
from contextlib import suppress

import pytest

from tests.helpers.archives import EXPECTED, Server, contents, write_zip
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
def root(tmp_path):
    return tmp_path / "data"


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


def slowly(content=b"x"):
    return ((content, 0.02) for _ in itertools.count())


def quickly(content):
    return ((content, 0) for _ in itertools.count())


ENDLESS = {
    "a byte now and then": lambda: itertools.chain([(HEADER + b"\r\n", 0)], slowly()),
    "a byte now and then of a header": lambda: itertools.chain([(HEADER + b"X: ", 0)], slowly()),
    "a byte now and then of the first line": lambda: itertools.chain([(b"HTTP/1.1 200 ", 0)], slowly()),
    "headers": lambda: itertools.chain([(HEADER, 0)], quickly(b"X-A: b\r\n")),
    "a header": lambda: itertools.chain([(HEADER + b"X: ", 0)], quickly(b"x" * 1000)),
    "100 Continue": lambda: quickly(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a chunk's length": lambda: itertools.chain(
        [(HEADER + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", 0)], slowly(b"0")
    ),
    "lines after the last chunk": lambda: itertools.chain(
        [(HEADER + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", 0)], quickly(b"X-A: b\r\n")
    ),
    "a redirection's text": lambda: itertools.chain(
        [(b"HTTP/1.1 302 Found\r\nLocation: /set.zip\r\n\r\n", 0)], quickly(b"x" * 10_000)
    ),
    "nothing": lambda: [(b"", 3)],
}


@pytest.mark.parametrize("parts", ENDLESS.values(), ids=ENDLESS)
def test_an_answer_that_never_ends(serve, root, parts):
    url, began, threads = serve(parts), time.monotonic(), threading.active_count()
    with pytest.raises(
        UserError, match=f"{url}: (no connection|the connection broke|the server answered 302|.*not a complete zip)"
    ) as caught:
        extracted([url], None, root)
    assert time.monotonic() - began < 5
    assert "\n" not in str(caught.value).split(url)[1].split("\n")[0]
    assert os.listdir(root) == [".lock"] or sorted(os.listdir(root)) == [".lock", "set.zip.part", "set.zip.part.json"]
    assert threading.active_count() <= threads + 10, "those of the server, which end with their connections"


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
    header = HEADER + b'ETag: "1"\r\nContent-Length: 1000000\r\n\r\n'
    sent = itertools.count()

    def parts():
        next(sent)
        return [(header + b"x", 0.05)]

    with pytest.raises(UserError, match="attempts without progress"):
        extracted([serve(parts)], None, root)
    assert next(sent) < 5


def test_what_a_server_says_is_told_without_control_characters(serve, root, run, tmp_path):
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
def test_a_damaged_record_starts_the_download_over(tmp_path, root, record):
    server = Server(write_zip(tmp_path / "served.zip").read_bytes())
    root.mkdir()
    (root / "set.zip.part").write_bytes(b"PK of something else")
    (root / "set.zip.part.json").write_text(RECORDS[record].replace("URL", server.url), encoding="latin-1")
    assert contents(extracted([server.url], None, root)) == EXPECTED
    server.http.shutdown()
    server.http.server_close()


@pytest.mark.parametrize("name", ["set.zip.part", "set.zip.part.json"])
def test_a_pipe_in_place_of_a_part_is_replaced(tmp_path, root, name):
    server = Server(write_zip(tmp_path / "served.zip").read_bytes())
    root.mkdir()
    for part in {"set.zip.part", "set.zip.part.json"} - {name}:
        (root / part).write_text(json.dumps([server.url, '"1"', None, 100]))
    os.mkfifo(root / name)
    assert contents(extracted([server.url], None, root)) == EXPECTED
    server.http.shutdown()
    server.http.server_close()


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
