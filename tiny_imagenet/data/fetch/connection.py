"""Opens a URL, and ends the connection when the server is slow, in whatever part of its answer."""

import socket
import threading
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.request import HTTPHandler, HTTPSHandler, Request, build_opener

SECONDS = 60.0  # in which at least so much content must come, the header included
LEAST = 60_000  # bytes


def open_url(request: Request, timeout: float) -> HTTPResponse:
    """As `urlopen`, but the connection is ended if fewer than LEAST bytes come in SECONDS.

    http.client itself waits for as long as a server sends a byte now and then, or endless lines before or after the
    content, such as `100 Continue`.

    Args:
        timeout: seconds without a byte.

    Raises:
        OSError, HTTPException: see `urlopen`.
    """
    return build_opener(_Handler, _SecureHandler).open(request, timeout=timeout)


class _Response(HTTPResponse):
    """An answer that is watched by a thread, which ends the connection if it is slow."""

    def __init__(self, sock: socket.socket, *args: object, **kwargs: object) -> None:
        super().__init__(sock, *args, **kwargs)
        self._socket, self._received = sock, 0
        self._closed, self._slow = threading.Event(), False
        threading.Thread(target=self._watch, name="speed of a download", daemon=True).start()

    def begin(self) -> None:
        try:
            super().begin()
        finally:
            self._require_speed()  # in place of the error that the ended connection may have led to
        if 300 <= self.status < 400:  # urllib would read all of a redirection's text
            self.length, self.chunked = 0, False

    def read1(self, n: int = -1) -> bytes:
        try:
            chunk = super().read1(n)
        finally:
            self._require_speed()
        self._received += len(chunk)
        return chunk

    def close(self) -> None:
        self._closed.set()
        super().close()

    def _watch(self) -> None:
        before = 0
        while not self._closed.wait(SECONDS):
            if self._received - before < LEAST:
                self._slow = True
                with suppress(OSError):
                    # Of the connection below TLS, whose own shutdown would wait for the server.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
                return
            before = self._received

    def _require_speed(self) -> None:
        if self._slow:
            raise HTTPException(f"less than {LEAST:,} bytes came in {SECONDS:g} s")


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _Handler(HTTPHandler):
    def http_open(self, request: Request) -> HTTPResponse:
        return self.do_open(_Connection, request)


class _SecureHandler(HTTPSHandler):
    def https_open(self, request: Request) -> HTTPResponse:
        return self.do_open(_SecureConnection, request)
