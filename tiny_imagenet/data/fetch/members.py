"""The members of a zip or tar archive, each checked before it is used: paths, kinds, sizes and headers."""

import re
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

from tiny_imagenet.data.fetch.decompress import begins, decompressed
from tiny_imagenet.data.fetch.unpacked_size import most_unpacked, require_no_bomb
from tiny_imagenet.errors import UserError

MOST_LEVELS = 100  # of folders; Python can't make or remove a thousand
MAX_HEADER = 1 << 14  # bytes of a tar member before its content: names and extended headers
# tarfile takes quadratic time for a long row of digits (CVE-2024-6232, fixed in Python 3.11.10).
DIGITS = re.compile(rb"\d{1000}")


class DamagedArchive(UserError):
    """An archive that is damaged or incomplete."""


Archive = zipfile.ZipFile | tarfile.TarFile


class Member(NamedTuple):
    """A file or folder of an archive; its path is safe to extract."""

    path: str
    size: int  # bytes; 0 for a folder
    is_folder: bool
    info: zipfile.ZipInfo | tarfile.TarInfo


@contextmanager
def read_errors(archive: Path) -> Iterator[None]:
    """Turn any error of the body, which reads an archive, into DamagedArchive, except UserErrors."""
    try:
        yield
    except UserError:
        raise
    # zipfile and tarfile raise many kinds on damaged input: BadZipFile, OSError, EOFError, zlib.error, ValueError.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise DamagedArchive(f"{archive} is damaged or can't be read: {reason}. Get a new copy.") from error


class _HeaderLimit:
    """The file of a tar archive, which refuses to read headers that are huge or slow to parse."""

    def __init__(self, file: BinaryIO) -> None:
        self.tell, self.seek, self._file = file.tell, file.seek, file
        self.left: int | None = MAX_HEADER  # bytes to read before the next member; None while its content is read

    def read(self, size: int) -> bytes:
        if self.left is None:
            return self._file.read(size)
        self.left -= size
        if self.left < 0 or DIGITS.search(data := self._file.read(size)):
            raise tarfile.ReadError(f"a header has more than {MAX_HEADER:,} bytes, or a thousand digits in a row")
        return data


@contextmanager
def opened_archive(archive: Path) -> Iterator[Archive]:
    """Open a zip, or a tar that may be compressed, as the first bytes tell."""
    with ExitStack() as stack:
        with read_errors(archive):
            # Not by is_zipfile, which also accepts a tar that ends in a zip.
            if begins(archive, b"PK"):
                opened = zipfile.ZipFile(archive)
            else:
                file = stack.enter_context(decompressed(archive))
                opened = tarfile.open(fileobj=_HeaderLimit(file), mode="r:")
        yield stack.enter_context(opened)


def members_of(opened: Archive, archive: Path) -> Iterator[Member]:
    """The files and folders of an archive, each checked before the next is read."""
    most, total = most_unpacked(archive.stat().st_size), 0
    members = _zip_members if isinstance(opened, zipfile.ZipFile) else _tar_members
    for member in members(opened, archive):
        if member.size < 0:
            raise tarfile.ReadError(f"{member.path} has a negative size")
        total += member.size + tarfile.BLOCKSIZE  # its header counts too: a million empty files fill the memory
        require_no_bomb(archive, total, most)
        if member.path:
            yield member


def _zip_members(opened: zipfile.ZipFile, archive: Path) -> Iterator[Member]:
    for info in opened.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UserError(refusal(archive, info.filename, "a link or a special file"))
        if info.flag_bits & 0x1:
            raise UserError(refusal(archive, info.filename, "encrypted"))
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # Python decompresses a chunk of these at once, however large the result.
            raise UserError(refusal(archive, info.filename, f"of compression type {info.compress_type}"))
        # PowerShell 5 separates folders by backslashes.
        name = _zip_name(info).replace("\\", "/")
        yield Member(_path(name, archive), info.file_size, name.endswith("/"), info)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """A member's name. That of macOS is UTF-8 without the flag that says so, and zipfile takes it for cp437."""
    if not info.flag_bits & 0x800:
        with suppress(UnicodeError):
            return info.filename.encode("cp437").decode("utf-8")
    return info.filename


def _tar_members(opened: tarfile.TarFile, archive: Path) -> Iterator[Member]:
    for info in opened:
        if info.issparse() or not (info.isfile() or info.isdir()):
            raise UserError(refusal(archive, info.name, "a link or a special file"))
        opened.fileobj.left = None  # its content may be read
        yield Member(_path(info.name, archive), info.size if info.isfile() else 0, info.isdir(), info)
        opened.fileobj.left = MAX_HEADER
    opened.fileobj.left = None
    # tarfile takes a truncated or damaged header for the end. The real end is a block of zeros, and reading it makes
    # gzip verify its checksum.
    opened.fileobj.seek(opened.offset)
    if not (end := opened.fileobj.read(1 << 20)[: tarfile.BLOCKSIZE]) or any(end) or len(end) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("its end mark is missing")


def content_of(opened: Archive, member: Member) -> IO[bytes]:
    """A file's content, as a stream."""
    is_zip = isinstance(opened, zipfile.ZipFile)
    return opened.open(member.info) if is_zip else opened.extractfile(member.info)


def refusal(archive: Path, name: str, what: str) -> str:
    """Why an archive is not extracted: because of which member."""
    return f"{archive} is not extracted: its member {name!r} is {what}. Use an archive of plain files."


def _path(name: str, archive: Path) -> str:
    """A member's path without empty and `.` parts; raises UserError if it leads out of the folder on any system."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if re.match(r"/|[A-Za-z]:", name) or ".." in parts or "\\" in name or "\0" in name:
        raise UserError(refusal(archive, name, "at an absolute path or outside the archive's folder"))
    if len(parts) > MOST_LEVELS:
        raise UserError(refusal(archive, f"{name[:40]}…", f"below more than {MOST_LEVELS} folders"))
    return "/".join(parts)
