"""Extracts the data files of zip and tar archives."""

import errno
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tiny_imagenet.data.fetch.decompress import begins
from tiny_imagenet.data.fetch.members import (
    Archive,
    DamagedArchive,
    Member,
    content_of,
    members_of,
    opened_archive,
    read_errors,
    refusal,
)
from tiny_imagenet.data.fetch.wanted import extension_to_add, is_hidden, names_to_extract, tell_unusual
from tiny_imagenet.data.images.content import FIRST
from tiny_imagenet.errors import UserError
from tiny_imagenet.files import disk_errors, require_free
from tiny_imagenet.progress import progress

SUFFIX = re.compile(r"\.(zip|tar|tar\.(gz|bz2|xz|zst)|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)
CHUNK = 1 << 20  # bytes
BLOCK = 4096  # bytes that file systems allocate at a time


def looks_whole(archive: Path) -> bool:
    """Whether a file begins and, if a zip, ends like an archive: a quick check that doesn't read the members."""
    if begins(archive, b"PK"):
        return zipfile.is_zipfile(archive)
    try:
        with opened_archive(archive) as opened:
            # A file that was allocated but never written is zeros, which tarfile takes for an empty archive.
            return opened.next() is not None
    except DamagedArchive:
        return False


def unpack(archive: Path, folder: Path) -> None:
    """Extract the data files (see `wanted`) of an archive into an empty folder.

    It may be a zip (stored or deflated) or a tar, also compressed by gzip, bzip2, xz or, from Python 3.14 on, zstd.
    Permissions, owners and times are not restored. A failure leaves files behind.

    Raises:
        DamagedArchive: the archive is truncated, a checksum is wrong, or it can't be read.
        UserError: it has an absolute path, `..`, a link, a special file, an encrypted member or two members of the same
            name; it unpacks to more than `most_unpacked` allows; the disk is full or read-only.
    """
    with opened_archive(archive) as opened:
        named = _named(opened, archive)
        tell_unusual([(member.path, name) for member, name in named], archive)
        members = [member._replace(path=name) for member, name in named if name]
        needed = sum(-(-member.size // BLOCK) * BLOCK for member in members)
        # Errors name the parent, which the user knows: `folder` is renamed in the end.
        require_free(folder.parent, needed)
        with disk_errors(folder.parent, needed), progress("extracting", len(members), "files") as advance:
            made: set[str] = set()
            for member in members:
                _write(opened, member, archive, folder, made)
                advance(1)


def file_sizes(archive: Path) -> list[tuple[str, int]]:
    """The path and the size in bytes of each file that `unpack` extracts; raises as it does."""
    with opened_archive(archive) as opened:
        return [(name, member.size) for member, name in _named(opened, archive) if name and not member.is_folder]


def _named(opened: Archive, archive: Path) -> list[tuple[Member, str | None]]:
    """The members, each with the name that it gets, or None if it is left out."""
    with read_errors(archive):
        # First bytes are looked at on the way, since going back in a compressed tar means starting over.
        members = [(member, _extension_to_add(opened, member)) for member in members_of(opened, archive)]
        if not members:
            raise EOFError("it is empty")
    names = names_to_extract([(member.path, extension) for member, extension in members])
    return [(member, name) for (member, _), name in zip(members, names, strict=True)]


def _extension_to_add(opened: Archive, member: Member) -> str | None:
    if member.is_folder:
        return None if is_hidden(member.path) else ""

    def head() -> bytes:
        with content_of(opened, member) as content:
            return content.read(FIRST)

    return extension_to_add(member.path, head)


def _write(opened: Archive, member: Member, archive: Path, folder: Path, made: set[str]) -> None:
    """Write one member. `made` lists the folders that exist: system calls dominate the time for small files."""
    target, left = f"{folder}/{member.path}", member.size
    parent = target if member.is_folder else target.rpartition("/")[0]
    try:
        if parent not in made:
            os.makedirs(parent, exist_ok=True)
            made.add(parent)
        if member.is_folder:
            return
        # O_EXCL: a second member of the same name is refused, and does not overwrite the first.
        file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    except (FileExistsError, NotADirectoryError):
        raise UserError(refusal(archive, member.path, "listed twice, or both a file and a folder")) from None
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
            raise
        what = f"not a valid file name on the disk of {folder} ({error.strerror})"
        raise UserError(refusal(archive, member.path, what)) from None
    try:
        for chunk in _chunks(opened, member, archive):
            # The declared size was checked; the content must not exceed it.
            left -= len(chunk)
            if left < 0:
                break
            while chunk:
                chunk = chunk[os.write(file, chunk) :]
    finally:
        os.close(file)
    if left:
        raise DamagedArchive(
            f"{archive} is damaged: {member.path!r} does not have its declared size, {member.size:,} bytes."
        )


def _chunks(opened: Archive, member: Member, archive: Path) -> Iterator[bytes]:
    # Errors of the consumer don't pass through here.
    with read_errors(archive), content_of(opened, member) as content:
        while chunk := content.read(CHUNK):
            yield chunk
