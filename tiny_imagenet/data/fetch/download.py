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
from urllib.request import Request

from tiny_imagenet.data.fetch.connection import open_url
from tiny_imagenet.files import disk_errors, require_free, size_text, to_disk
from tiny_imagenet.progress import progress
from tiny_imagenet.run.bounded import read_file

log = logging.getLogger(__name__)

RETRY_DELAYS = (1.0, 2.0, 4.0, 8.0)  # seconds to wait after each of several attempts without progress
TIMEOUT = 20.0  # seconds without an answer or a byte
LEAST_SPEED = 1000  # bytes a second of an attempt that counts as progress
LARGEST = 20 * 10**9  # bytes of a file
LARGEST_RECORD = 100_000  # bytes
CHUNK = 1 << 18  # bytes
NUMBER, VALIDATOR = re.compile(r"[0-9]{1,18}"), re.compile(r"[ -~]{1,1000}")
TRANSIENT = {408, 416, 425, 429}  # besides 5xx; after a 416 the next attempt starts over


class Unavailable(Exception):
    """A source can't provide the file, and why; another source may."""


def download(url: str, part: Path, largest: int = LARGEST) -> None:
    """Download the file at `url` to `part`, and keep what `part` already has of the same version.

    The version is recorded beside it, for the next attempt and the next process. The download starts over if the server
    ignores ranges or the file has changed.

    Args:
        largest: bytes of the file, at most.

    Raises:
        Unavailable: the server refuses, answers with a web page or a larger file, or several attempts in a row make no
            progress or are slower than LEAST_SPEED.
        UserError: `part` can't be written.
    """
    furthest, failures, since = _size(part), 0, time.monotonic()
    while True:
        try:
            return _attempt(url, part, largest)
        except _Interrupted as reason:
            size, now = _size(part), time.monotonic()
            if size - furthest > LEAST_SPEED * (now - since):
                furthest, failures, since = size, 1, now
            else:
                failures += 1
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


def _attempt(url: str, part: Path, largest: int) -> None:
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
            raise kind(" ".join(f"the server answered {error.code} {error.reason}".split())) from error
    with response:
        if known and response.status == 206:
            version = _version(url, response, _total(response))
            if not known.may_equal(version) or _start(response) != offset:
                discard(part)
                raise _Interrupted("the file has changed on the server since its first part was downloaded")
            log.info(f"Resuming {url} at {offset:,} bytes.")
        else:
            length = response.headers.get("Content-Length", "")
            version, offset = _version(url, response, int(length) if NUMBER.fullmatch(length) else None), 0
        _receive(response, version, part, offset, largest)


def _receive(response: HTTPResponse, version: _Version, part: Path, offset: int, largest: int) -> None:
    """Write the body of a response to `part`, from `offset`."""
    chunks = _chunks(response)
    chunk = next(chunks, b"")
    if offset == 0:
        if _is_web_page(response, chunk):
            raise Unavailable("the server answered with a web page instead of an archive")
        # The old part is removed before the new record is written, so that a kill can't leave both.
        discard(part)
    if (version.size or 0) > largest:
        raise Unavailable(f"its {size_text(version.size)} are more than the {size_text(largest)} allowed")
    needed = (version.size or 0) - offset
    require_free(part.parent, max(needed, 0))
    if offset == 0:
        _write_record(part, version)
    with disk_errors(part, max(needed, 0)), progress(part.stem, version.size, "B", offset) as advance:
        with open(part, "r+b" if offset else "wb") as file:
            file.seek(offset)
            while chunk:
                if (offset := offset + len(chunk)) > largest:
                    discard(part)
                    raise Unavailable(f"it goes on after the {size_text(largest)} allowed")
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
        return open_url(request, TIMEOUT)
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
    named = (response.headers.get(name) for name in ("ETag", "Last-Modified"))
    return _Version(url, *(name if name and VALIDATOR.fullmatch(name) else None for name in named), size)


def _start(response: HTTPResponse) -> int | None:
    """The first byte of a partial response, from `Content-Range: bytes 100-199/200`."""
    found = re.match(rf"bytes ({NUMBER.pattern})-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _total(response: HTTPResponse | HTTPError) -> int | None:
    """The whole file's length, from `Content-Range: bytes 100-199/200` or `bytes */200`."""
    found = re.match(rf"bytes .*/({NUMBER.pattern})$", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _resumable(url: str, part: Path) -> tuple[_Version | None, int]:
    """The version whose first bytes `part` has, and how many; (None, 0) if it can't be resumed."""
    try:
        known = _Version(*json.loads(read_file(_record(part), LARGEST_RECORD)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None, 0
    size = _size(part)
    sound = all(name is None or isinstance(name, str) and VALIDATOR.fullmatch(name) for name in known[1:3])
    sound = sound and (known.size is None or type(known.size) is int)
    same = sound and known.url == url and (known.validator or known.size is not None)
    return (known, size) if same and 0 < size <= (known.size or size) else (None, 0)


def _write_record(part: Path, version: _Version) -> None:
    # In place: after a half-written record the download only starts over.
    with disk_errors(part):
        _record(part).write_text(json.dumps(version))


def _record(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
