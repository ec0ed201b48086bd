"""A faulty server, faulty archives, small disks, and processes that are killed."""

import io
import multiprocessing
import os
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

FILES = {"set/a.txt": b"one", "set/sub/b.bin": os.urandom(300_000), "set/sub/empty.txt": b""}
EXPECTED = {name.removeprefix("set/"): content for name, content in FILES.items()}


def write_zip(path: Path, files=FILES, compression=zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, members, mode="w:gz") -> Path:
    """Write a tar file of `members`: pairs of a name or TarInfo and the content."""
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".archive.json"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


class Server:
    """Serves `content` as /set.zip. Each request uses up one of `faults`: a status, a fault's name, or a function."""

    def __init__(self, content: bytes) -> None:
        self.content, self.etag, self.faults, self.requests = content, '"1"', [], []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *args) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/set.zip"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        fault, asked = self.faults.pop(0) if self.faults else None, request.headers.get("Range")
        self.requests.append(asked)
        if isinstance(fault, int):
            return request.send_error(fault)
        if callable(fault):
            fault()
        body, start = self.content, 0
        if fault == "web page":
            body = b"  <!DOCTYPE html><html>Sign in to the network</html>"
        elif asked and fault != "ignores ranges" and request.headers.get("If-Range", self.etag) == self.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(body):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(body)}")
            return request.end_headers()
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if self.etag:
            request.send_header("ETag", self.etag)
        if fault not in ("no length", "no length, stops"):
            request.send_header("Content-Length", str(len(body) - start))
        request.send_header("Content-Type", "text/html" if fault == "web page" else "application/zip")
        request.end_headers()
        stops = fault in ("stops", "no length, stops")
        request.wfile.write(body[start : start + (len(body) - start) // 2] if stops else body[start:])


def in_process(work) -> multiprocessing.Process:
    """Start `work` in a forked process, because importing everything again takes seconds."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


@contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """Mount a disk in memory at `folder`, with mount's `options`; skip the test if that is not allowed."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "none", folder]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs root and the right to mount a small or read-only disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def change_disk(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)
