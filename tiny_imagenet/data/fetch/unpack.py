"""Extracts zip and tar archives, and refuses what could write elsewhere or fill the disk."""

import errno
import logging
import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tiny_imagenet.data.fetch.decompress import begins, decompressed
from tiny_imagenet.data.fetch.unpacked_size import most_unpacked, require_no_bomb
from tiny_imagenet.data.images.scan import EXTENSIONS
from tiny_imagenet.errors import UserError
from tiny_imagenet.files import disk_errors, require_free
from tiny_imagenet.progress import progress

log = logging.getLogger(__name__)

# The kinds of files in data sets. A config may choose the folder to extract to, so no file is extracted that a program
# might run or read as its settings.
DATA = (*EXTENSIONS, ".txt", ".csv", ".json", ".xml", ".html", ".bin", ".parquet")
CIFAR = re.compile(r"(?:.*/)?(?:data_batch_\d+|test_batch|batches\.meta)")  # of its Python version
SUFFIX = re.compile(r"\.(zip|tar|tar\.(gz|bz2|xz|zst)|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)

MOST_LEVELS = 100  # of folders; Python can't make or remove a thousand
MAX_HEADER = 1 << 14  # bytes of a tar member before its content: names and extended headers
# tarfile takes quadratic time for a long row of digits (CVE-2024-6232, fixed in Python 3.11.10).
DIGITS = re.compile(rb"\d{1000}")
CHUNK = 1 << 20  # bytes
BLOCK = 4096  # bytes that file systems allocate at a time


class DamagedArchive(UserError):
    """An archive that is damaged or incomplete."""


def looks_whole(archive: Path) -> bool:
    """Whether a file begins and, if a zip, ends like an archive: a quick check that doesn't read the members."""
    if begins(archive, b"PK"):
        return zipfile.is_zipfile(archive)
    try:
        with _opened(archive) as opened:
            # A file that was allocated but never written is zeros, which tarfile takes for an empty archive.
            return opened.next() is not None
    except DamagedArchive:
        return False


def unpack(archive: Path, folder: Path) -> None:
    """Extract the data files (see DATA) of an archive into an empty folder.

    It may be a zip (stored or deflated) or a tar, also compressed by gzip, bzip2, xz or, from Python 3.14 on, zstd.
    Permissions, owners and times are not restored. A failure leaves files behind.

    Raises:
        DamagedArchive: the archive is truncated, a checksum is wrong, or it can't be read.
        UserError: it has an absolute path, `..`, a link, a special file, an encrypted member or two members of the same
            name; it unpacks to more than `most_unpacked` allows; the disk is full or read-only.
    """
    with _opened(archive) as opened:
        with _read_errors(archive):
            members = list(_members(opened, archive))
            if not members:
                raise EOFError("it is empty")
        if skipped := [member.path for member in members if not _is_wanted(member)]:
            members = [member for member in members if _is_wanted(member)]
            log.info(f"{archive}: skipped {len(skipped):,} files that are not data, such as {skipped[0]!r}.")
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
    with _opened(archive) as opened, _read_errors(archive):
        members = _members(opened, archive)
        return [(member.path, member.size) for member in members if _is_wanted(member) and not member.is_folder]


_Archive = zipfile.ZipFile | tarfile.TarFile


class _Member(NamedTuple):
    path: str
    size: int  # bytes; 0 for a folder
    is_folder: bool
    info: zipfile.ZipInfo | tarfile.TarInfo


@contextmanager
def _read_errors(archive: Path) -> Iterator[None]:
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
def _opened(archive: Path) -> Iterator[_Archive]:
    with ExitStack() as stack:
        with _read_errors(archive):
            # Not by is_zipfile, which also accepts a tar that ends in a zip.
            if begins(archive, b"PK"):
                opened = zipfile.ZipFile(archive)
            else:
                file = stack.enter_context(decompressed(archive))
                opened = tarfile.open(fileobj=_HeaderLimit(file), mode="r:")
        yield stack.enter_context(opened)


def _members(opened: _Archive, archive: Path) -> Iterator[_Member]:
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


def _zip_members(opened: zipfile.ZipFile, archive: Path) -> Iterator[_Member]:
    for info in opened.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UserError(_refusal(archive, info.filename, "a link or a special file"))
        if info.flag_bits & 0x1:
            raise UserError(_refusal(archive, info.filename, "encrypted"))
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # Python decompresses a chunk of these at once, however large the result.
            raise UserError(_refusal(archive, info.filename, f"of compression type {info.compress_type}"))
        # PowerShell 5 separates folders by backslashes.
        name = _zip_name(info).replace("\\", "/")
        yield _Member(_path(name, archive), info.file_size, name.endswith("/"), info)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """A member's name. That of macOS is UTF-8 without the flag that says so, and zipfile takes it for cp437."""
    if not info.flag_bits & 0x800:
        with suppress(UnicodeError):
            return info.filename.encode("cp437").decode("utf-8")
    return info.filename


def _tar_members(opened: tarfile.TarFile, archive: Path) -> Iterator[_Member]:
    for info in opened:
        if info.issparse() or not (info.isfile() or info.isdir()):
            raise UserError(_refusal(archive, info.name, "a link or a special file"))
        yield _Member(_path(info.name, archive), info.size if info.isfile() else 0, info.isdir(), info)
        opened.fileobj.left = MAX_HEADER
    opened.fileobj.left = None
    # tarfile takes a truncated or damaged header for the end. The real end is a block of zeros, and reading it makes
    # gzip verify its checksum.
    opened.fileobj.seek(opened.offset)
    if not (end := opened.fileobj.read(CHUNK)[: tarfile.BLOCKSIZE]) or any(end) or len(end) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("its end mark is missing")


def _is_wanted(member: _Member) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in member.path.split("/"))
    wanted = member.is_folder or member.path.lower().endswith(DATA) or CIFAR.fullmatch(member.path)
    return not hidden and bool(wanted)


def _refusal(archive: Path, name: str, what: str) -> str:
    return f"{archive} is not extracted: its member {name!r} is {what}. Use an archive of plain files."


def _path(name: str, archive: Path) -> str:
    """A member's path without empty and `.` parts; raises UserError if it leads out of the folder on any system."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if re.match(r"/|[A-Za-z]:", name) or ".." in parts or "\\" in name or "\0" in name:
        raise UserError(_refusal(archive, name, "at an absolute path or outside the archive's folder"))
    if len(parts) > MOST_LEVELS:
        raise UserError(_refusal(archive, f"{name[:40]}…", f"below more than {MOST_LEVELS} folders"))
    return "/".join(parts)


def _write(opened: _Archive, member: _Member, archive: Path, folder: Path, made: set[str]) -> None:
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
        raise UserError(_refusal(archive, member.path, "listed twice, or both a file and a folder")) from None
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
            raise
        what = f"not a valid file name on the disk of {folder} ({error.strerror})"
        raise UserError(_refusal(archive, member.path, what)) from None
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


def _chunks(opened: _Archive, member: _Member, archive: Path) -> Iterator[bytes]:
    # Errors of the consumer don't pass through here.
    with _read_errors(archive):
        is_zip = isinstance(opened, zipfile.ZipFile)
        with opened.open(member.info) if is_zip else opened.extractfile(member.info) as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
