"""Downloads a file from an HTTP server, and resumes after broken connections.

Resuming follows RFC 9110, sections 13.1.5 (If-Range), 14 (Range) and 15.5.17 (416), https://www.rfc-editor.org/rfc/rfc9110.
"""

import json
import logging
import re
import ssl
import time
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse, InvalidURL
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tiny_imagenet.files import disk_errors, require_free, to_disk
from tiny_imagenet.progress import progress

log = logging.getLogger(__name__)

RETRY_DELAYS = (1.0, 2.0, 4.0, 8.0)  # seconds to wait after each of several attempts without progress
TIMEOUT = 20.0  # seconds without an answer or a byte
CHUNK = 1 << 18  # bytes
TRANSIENT = {408, 416, 425, 429}  # besides 5xx; after a 416 the next attempt starts over


class Unavailable(Exception):
    """A source can't provide the file, and why; another source may."""


def download(url: str, part: Path) -> None:
    """Download the file at `url` to `part`, and keep what `part` already has of the same version.

    The version is recorded beside it, for the next attempt and the next process. The download starts over if the server
    ignores ranges or the file has changed.

    Raises:
        Unavailable: the server refuses, answers with a web page, or several attempts in a row make no progress.
        UserError: `part` can't be written.
    """
    furthest, failures = _size(part), 0
    while True:
        try:
            return _attempt(url, part)
        except _Interrupted as reason:
            size = _size(part)
            furthest, failures = max(furthest, size), 1 if size > furthest else failures + 1
            if failures > len(RETRY_DELAYS):
                raise Unavailable(f"{reason} ({failures} attempts without progress)") from reason
            delay = RETRY_DELAYS[failures - 1]
            log.info(f"{url}: {reason}; trying again in {delay:g} s, from {size:,} bytes.")
            time.sleep(delay)


def discard(part: Path) -> None:
    """Remove a part and its record."""
    with disk_errors(part):
        part.unlink(missing_ok=True)
        _record(part).unlink(missing_ok=True)


class _Interrupted(Exception):
    """An attempt failed for a reason that may be temporary."""


class _Version(NamedTuple):
    """What identifies a version of a file on a server; `size` in bytes, None if the server did not say."""

    url: str
    etag: str | None
    last_modified: str | None
    size: int | None

    @property
    def validator(self) -> str | None:
        """The value for If-Range: a strong ETag or a date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified

    def may_equal(self, other: "_Version") -> bool:
        """Whether the two agree in all that both state."""
        return all(None in pair or pair[0] == pair[1] for pair in zip(self, other, strict=True))


def _attempt(url: str, part: Path) -> None:
    known, offset = _resumable(url, part)
    if known and known.size == offset:
        return
    headers = {"User-Agent": "tiny_imagenet"}
    if known:
        headers["Range"] = f"bytes={offset}-"
        if known.validator:
            headers["If-Range"] = known.validator
    try:
        response = _open(Request(url, headers=headers))
    except HTTPError as error:
        with error:
            if known and error.code == 416 and _total(error) == offset:
                return _write_record(part, known._replace(size=offset))
            if error.code == 416:
                discard(part)
            kind = _Interrupted if error.code >= 500 or error.code in TRANSIENT else Unavailable
            raise kind(f"the server answered {error.code} {error.reason}") from error
    with response:
        if known and response.status == 206:
            version = _version(url, response, _total(response))
            if not known.may_equal(version) or _start(response) != offset:
                discard(part)
                raise _Interrupted("the file has changed on the server since its first part was downloaded")
            log.info(f"Resuming {url} at {offset:,} bytes.")
        else:
            length = response.headers.get("Content-Length", "")
            version, offset = _version(url, response, int(length) if length.isdigit() else None), 0
        _receive(response, version, part, offset)


def _receive(response: HTTPResponse, version: _Version, part: Path, offset: int) -> None:
    """Write the body of a response to `part`, from `offset`."""
    chunks = _chunks(response)
    chunk = next(chunks, b"")
    if offset == 0:
        if _is_web_page(response, chunk):
            raise Unavailable("the server answered with a web page instead of an archive")
        # The old part is removed before the new record is written, so that a kill can't leave both.
        discard(part)
    needed = (version.size or 0) - offset
    require_free(part.parent, max(needed, 0))
    if offset == 0:
        _write_record(part, version)
    with disk_errors(part, max(needed, 0)), progress(part.stem, version.size, "B", offset) as advance:
        with open(part, "r+b" if offset else "wb") as file:
            file.seek(offset)
            while chunk:
                file.write(chunk)
                # Empties Python's buffer, so that a kill loses nothing.
                file.flush()
                advance(len(chunk))
                chunk = next(chunks, b"")
        to_disk(part)
    size = _size(part)
    if version.size not in (None, size):
        raise _Interrupted(f"the connection ended after {size:,} of {version.size:,} bytes")
    if version.size is None:
        _write_record(part, version._replace(size=size))


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    try:
        while chunk := response.read1(CHUNK):
            yield chunk
    except (OSError, HTTPException) as error:
        raise _Interrupted(f"the connection broke: {error}") from error


def _open(request: Request) -> HTTPResponse:
    try:
        return urlopen(request, timeout=TIMEOUT)
    except HTTPError:
        raise
    except (ValueError, InvalidURL) as error:
        raise Unavailable(f"not a valid URL: {error}") from error
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise Unavailable(f"its certificate is not trusted: {reason.verify_message}") from error
        raise _Interrupted(f"no connection: {reason or type(error).__name__}") from error


def _is_web_page(response: HTTPResponse, first: bytes) -> bool:
    start = first[:512].lstrip().lower()
    declared = response.headers.get_content_type() == "text/html" and start.startswith(b"<")
    return declared or start.startswith((b"<!doctype html", b"<html"))


def _version(url: str, response: HTTPResponse, size: int | None) -> _Version:
    return _Version(url, response.headers.get("ETag"), response.headers.get("Last-Modified"), size)


def _start(response: HTTPResponse) -> int | None:
    """The first byte of a partial response, from `Content-Range: bytes 100-199/200`."""
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _total(response: HTTPResponse | HTTPError) -> int | None:
    """The whole file's length, from `Content-Range: bytes 100-199/200` or `bytes */200`."""
    found = re.match(r"bytes .*/(\d+)$", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _resumable(url: str, part: Path) -> tuple[_Version | None, int]:
    """The version whose first bytes `part` has, and how many; (None, 0) if it can't be resumed."""
    try:
        known = _Version(*json.loads(_record(part).read_text()))
    except (OSError, ValueError, TypeError):
        return None, 0
    size = _size(part)
    same = known.url == url and (known.validator or known.size is not None)
    return (known, size) if same and 0 < size <= (known.size or size) else (None, 0)


def _write_record(part: Path, version: _Version) -> None:
    # In place: after a half-written record the download only starts over.
    with disk_errors(part):
        _record(part).write_text(json.dumps(version))


def _record(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
