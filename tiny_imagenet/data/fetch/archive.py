"""From the URL or file of an archive to the folder of its files: verified, extracted, all or nothing."""

import hashlib
import json
import logging
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from tiny_imagenet.data.fetch.addresses import KEPT, archive_of, folder_of, local_path, name_of
from tiny_imagenet.data.fetch.cut_short import cut_short
from tiny_imagenet.data.fetch.download import LARGEST, Unavailable, discard, download
from tiny_imagenet.data.fetch.members import DamagedArchive
from tiny_imagenet.data.fetch.unpack import looks_whole, unpack
from tiny_imagenet.errors import UserError, some
from tiny_imagenet.files import disk_errors, read_json, remove_leftovers, replace_text, replacing

log = logging.getLogger(__name__)

RECORD = ".archive.json"  # in the extracted folder: the archive it came from
EXTRACT_AGAIN = "Delete the extracted folder and start again, to extract the archive again."


def extracted(sources: Sequence[str], md5: str | None, root: Path, largest: int = LARGEST) -> Path:
    """Return root/<archive stem>/ with the archive's files; downloads and extracts what is missing.

    A single top folder of the archive is left out. A download that is whole but has another MD5 is kept beside, one per
    archive, until a right one comes. If a process is killed at any moment, the next call finishes.

    Args:
        sources: where to get the archive, the preferred place first: http(s) or file:// URLs, or local paths. Downloads
            are kept in `root`; local files are used in place and never changed.
        md5: checksum of the archive; None accepts any.
        largest: bytes to download, at most.

    Raises:
        UserError: no source has it with that checksum; it is damaged, unsafe or of an unknown kind; the folder exists,
            but not from an archive; the disk is full or read-only.
    """
    if md5 is not None and not re.fullmatch("[0-9a-f]{32}", md5 := md5.lower()):
        raise UserError(f"md5 {md5!r} is not an MD5 checksum of 32 hexadecimal digits; null accepts any archive.")
    folder = folder_of(sources[0], root)
    with locked(root):
        remove_leftovers(folder)
        before = _Origin.read(folder)
        if before and any(before.matches(source, md5) for source in sources):
            return folder
        if before is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(
                f"{folder} exists already, but was not extracted by this program. To use it as it is, set --data.root "
                f"{folder} --data.archive null; otherwise move it away."
            )
        archive, origin = _obtain(sources, md5, root, largest)
        if before and before.md5 == origin.md5:
            with disk_errors(folder):
                origin.write(folder)
            return folder
        if before:
            log.info(
                f"{folder} came from another archive ({before.name}, MD5 {before.md5}): extracting {archive} instead."
            )
        try:
            _extract(archive, folder, origin)
        except DamagedArchive as error:
            if not any(local_path(source) is None and archive == archive_of(source, root) for source in sources):
                raise
            with disk_errors(archive):
                archive.unlink()
            raise UserError(f"{error} The download was removed; run the same command to download it again.") from error
    return folder


def needs_download(source: str, root: Path) -> bool:
    """Whether `extracted` would have to download a source, since `root` has neither its files nor the archive."""
    is_local = local_path(source) is not None
    return not (is_local or folder_of(source, root).exists() or archive_of(source, root).exists())


def extract_again(sources: Sequence[str], root: Path) -> bool:
    """Extract an archive again if files of its folder were cut short, as by a power cut; `cut_short` says how.

    Nothing is downloaded.

    Args:
        sources: as for `extracted`, which was called before.

    Returns:
        Whether it was extracted: not if no file is cut short, or the archive is gone or can't be read any more.
    """
    folder = folder_of(sources[0], root)
    with locked(root):
        origin = _Origin.read(folder)
        for archive in dict.fromkeys(archive_of(source, root) for source in sources):
            # An archive that can't be read any more must not hide the error that led here.
            with suppress(OSError, Unavailable, UserError):
                if origin and archive.stat().st_size == origin.size and (lost := cut_short(archive, folder)):
                    _verified(archive, origin.md5)
                    break
        else:
            return False
        log.warning(
            f"{folder} has files without their content, as after a power cut: {some(lost)}. Extracting {archive} again."
        )
        _extract(archive, folder, origin)
        return True


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the lock of a data folder, which is created if it is missing; the lock is reentrant.

    Raises:
        UserError: the folder can't be created.
    """
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root.resolve() / ".lock", is_singleton=True)
    with ExitStack() as held:
        # In a read-only folder nothing can be prepared, but what it has can be used.
        with suppress(OSError):
            try:
                held.enter_context(lock.acquire(timeout=0))
            except Timeout:
                log.info(f"Waiting for another process, which is preparing {root}.")
                held.enter_context(lock.acquire())
        yield


class _Origin(NamedTuple):
    """The archive that a folder was extracted from."""

    name: str
    size: int
    mtime_ns: int
    md5: str

    @classmethod
    def of(cls, archive: Path, md5: str) -> "_Origin":
        status = archive.stat()
        return cls(archive.name, status.st_size, status.st_mtime_ns, md5)

    @classmethod
    def read(cls, folder: Path) -> "_Origin | None":
        """What a folder's record says: None without a record, unknown if it can't be read."""
        try:
            return cls(**read_json(folder / RECORD))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError):
            return cls("unknown", -1, -1, "unknown")

    def write(self, folder: Path) -> None:
        replace_text(folder / RECORD, json.dumps(self._asdict()))

    def matches(self, source: str, md5: str | None) -> bool:
        """Whether a folder of this origin has the files of a source."""
        if md5 is not None:
            return md5 == self.md5
        path = local_path(source)
        if path is None or not path.exists():
            return name_of(source) == self.name
        return (path.stat().st_size, path.stat().st_mtime_ns) == (self.size, self.mtime_ns)


class _WrongMD5(Unavailable):
    """An archive is whole, but not the one that was asked for."""


def _obtain(sources: Sequence[str], md5: str | None, root: Path, largest: int) -> tuple[Path, _Origin]:
    """The verified archive, from the first source that has it."""
    reasons = []
    for number, source in enumerate(sources, 1):
        try:
            is_local, archive = local_path(source) is not None, archive_of(source, root)
            if not is_local and not archive.exists():
                _download(source, archive, md5, largest)
            try:
                return archive, _verified(archive, md5)
            except Unavailable as reason:
                if is_local:
                    raise
                log.info(f"{archive}: {reason}; downloading it again.")
                _download(source, archive, md5, largest)
                return archive, _verified(archive, md5)
        except Unavailable as reason:
            if number < len(sources):
                log.info(f"{source}: {reason}. Trying {sources[number]}.")
            reasons.append(f"  {source}: {reason}")
    raise UserError(
        "The archive could not be downloaded from any source:\n"
        + "\n".join(reasons)
        + "\nGive a local archive (--data.archive FILE --data.md5 null, "
        "or its MD5), or train on generated images: make quickstart."
    )


def _download(url: str, archive: Path, md5: str | None, largest: int) -> None:
    """Download an archive, verify it, and give it its name; with another MD5 it is kept under a name of its own."""
    part, kept = (archive.with_name(archive.name + ending) for ending in (".part", KEPT))
    while True:
        resumed = part.exists()
        try:
            download(url, part, largest)
        except UserError:
            if not kept.exists():
                raise
            with disk_errors(kept):
                kept.unlink()  # its room may be what is missing
            download(url, part, largest)
        try:
            _verified(part, md5)
        except Unavailable as reason:
            if not resumed and isinstance(reason, _WrongMD5):
                with disk_errors(kept):
                    os.replace(part, kept)
                trusted = f"--data.archive {shlex.quote(str(kept))} --data.md5 null"
                reason.args = (f"{reason}. It is kept as {kept}; if you trust it: {trusted}",)
            discard(part)
            if not resumed:
                raise
            log.info(f"{url}: {reason}; downloading it again from the start.")
            continue
        with disk_errors(archive):
            os.replace(part, archive)
            kept.unlink(missing_ok=True)
        return discard(part)


def _verified(archive: Path, md5: str | None) -> _Origin:
    if not archive.exists():
        raise Unavailable("there is no such file")
    if not (archive.is_file() or archive.is_dir()):
        raise Unavailable("it is a pipe or a device, not a file")
    try:
        with open(archive, "rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        origin = _Origin.of(archive, found)
    except OSError as error:
        raise Unavailable(f"can't be read: {error.strerror}") from error
    if not looks_whole(archive):
        expected = f" instead of {md5}" if md5 not in (None, found) else ""
        raise Unavailable(f"its {origin.size:,} bytes are not a complete zip or tar archive (MD5 {found}{expected})")
    if md5 not in (None, found):
        raise _WrongMD5(f"the MD5 of its {origin.size:,} bytes is {found}, not {md5}")
    return origin


def _extract(archive: Path, folder: Path, origin: _Origin) -> None:
    """Unpack beside `folder`, then replace it."""
    with disk_errors(folder, origin.size), replacing(folder) as beside:
        beside.mkdir()
        unpack(archive, beside)
        content = list(beside.iterdir())
        if len(content) == 1 and content[0].is_dir():
            aside = beside.with_name(f"{beside.name}-top")  # `remove_leftovers` removes it too
            os.rename(content[0], aside)
            beside.rmdir()
            os.rename(aside, beside)
        origin.write(beside)
