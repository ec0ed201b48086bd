"""From a URL or a file to the folder of what the archive holds: verified, extracted safely, and all or nothing."""

import hashlib
import json
import logging
import os
import shutil
import stat
import sys
import tarfile
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from filelock import FileLock, Timeout
from tqdm import tqdm

from tiny_imagenet.data.download import Unreachable, download
from tiny_imagenet.errors import UserError

log = logging.getLogger(__name__)

RECORD = ".archive.json"  # in the extracted folder: that it is whole, and what it came from
MOST_BYTES = 10 * 10**9  # that an archive may unpack to
MOST_RATIO = 20  # times its own size, above ...
SMALL_BYTES = 100 * 10**6
SUFFIXES = (".zip", ".tar.gz", ".tgz", ".tar")


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the lock of a data folder, which is made if need be; a thread that has it already may take it again.

    Raises:
        UserError: the folder cannot be made.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The data folder {root} cannot be made: {error.strerror}. Choose --data.root.") from None
    lock = FileLock(root / ".lock", is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info(f"Waiting for another process that prepares {root}.")
        lock.acquire()
    except OSError:
        # A read-only folder: nothing can be prepared, but what is there can be read.
        yield
        return
    try:
        yield
    finally:
        lock.release()


def extracted(sources: Sequence[str], md5: str | None, root: Path) -> Path:
    """The folder `root/<name of the archive>` with its files, after downloading and extracting what is missing.

    A top folder that holds everything is left out. The folder appears when it is whole.

    Args:
        sources: where the same archive may be had, the preferred place first: http(s) or file:// URLs, or local paths.
        md5: its checksum; None accepts any.

    Raises:
        UserError: no source has it, its checksum is wrong, it is damaged or not safe to extract, or the disk is full.
    """
    with locked(root):
        folder = root / _stem(sources[0])
        if _is_current(folder, sources, md5):
            return folder
        failures = []
        for source in sources:
            try:
                archive = _local(source, root)
                _verify(archive, md5, downloaded=_is_remote(source))
            except Unreachable as error:
                log.warning(f"{source}: {error}.")
                failures.append(f"  {source}: {error}")
                continue
            _extract(archive, folder, {"source": source, "md5": md5, **_signature(archive)})
            return folder
    raise UserError(
        "The archive could not be had from anywhere:\n"
        + "\n".join(failures)
        + "\nGive a local copy (--data.archive FILE "
        "--data.md5 null; with the official archive the MD5 may stay), or try generated images first: make quickstart."
    )


def _stem(source: str) -> str:
    name = PurePosixPath(urllib.parse.urlparse(source).path if "://" in source else source).name
    name = urllib.parse.unquote(name) if "://" in source else name
    return next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)


def _is_remote(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def _is_current(folder: Path, sources: Sequence[str], md5: str | None) -> bool:
    """Whether what was extracted before is what is asked for now."""
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return False
    if md5 is not None and record.get("md5") == md5:
        return True
    try:
        signature = {} if _is_remote(record["source"]) else _signature(_path(sources[0]))
    except OSError:
        signature = {}  # The archive is gone, and what came from it is still there.
    if md5 is None and signature.items() <= record.items():
        return True
    log.info(f"{folder} came from another archive than {sources[0]}; extracting anew.")
    return False


def _signature(archive: Path) -> dict[str, int]:
    status = archive.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _path(source: str) -> Path:
    if source.startswith("file://"):
        return Path(urllib.request.url2pathname(urllib.parse.urlparse(source).path))
    return Path(source).expanduser()


def _local(source: str, root: Path) -> Path:
    """The archive as a file here; what is local is used where it is."""
    if not _is_remote(source):
        path = _path(source)
        if not path.is_file():
            raise Unreachable("there is no such file")
        return path
    target = root / urllib.parse.unquote(PurePosixPath(urllib.parse.urlparse(source).path).name)
    if not target.exists():
        download(source, target)
    return target


def _verify(archive: Path, md5: str | None, downloaded: bool) -> None:
    fault = None
    if md5 is not None:
        with open(archive, "rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found != md5:
            fault = f"its MD5 is {found}, not {md5}"
    if fault is None and not zipfile.is_zipfile(archive) and not tarfile.is_tarfile(archive):
        fault = f"{archive} is no zip or tar archive, or only the beginning of one"
    if fault:
        if downloaded:  # The user's own files are left alone.
            archive.unlink()
        raise Unreachable(fault)


def _extract(archive: Path, folder: Path, record: dict[str, object]) -> None:
    beside = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        _unpack(archive, beside)
        entries = list(beside.iterdir())
        content = entries[0] if len(entries) == 1 and entries[0].is_dir() else beside
        (content / RECORD).write_text(json.dumps(record))
        if folder.exists():
            os.rename(folder, beside / ".replaced")
        os.rename(content, folder)
    except OSError as error:
        raise UserError(
            f"{archive} cannot be extracted to {folder}: {error.strerror or error}. Make room there, or choose "
            "another --data.root."
        ) from error
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{archive} is damaged: {error}. Get it again; nothing of it was kept.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _unpack(archive: Path, target: Path) -> None:
    """Write all files of an archive below `target`, refusing whatever could land elsewhere or fill the disk."""
    most = min(MOST_BYTES, max(SMALL_BYTES, MOST_RATIO * archive.stat().st_size))
    target.mkdir(parents=True)
    folders, written, total = set(), 0, None
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            total = sum(member.file_size for member in opened.infolist())
        free = shutil.disk_usage(target).free
        if total <= most and total > free:
            raise UserError(
                f"{archive} unpacks to {total / 1e6:,.0f} MB, but {target.parent} has only {free / 1e6:,.0f} MB free. "
                "Make room there, or choose --data.root."
            )
    bar = tqdm(total=total, unit="B", unit_scale=True, desc="extracting", mininterval=1 if sys.stderr.isatty() else 30)
    with bar:
        for name, size, file in _members(archive):
            path = target / _checked(name, archive)
            written += size
            if written > most:
                raise UserError(f"{archive} unpacks to more than {most / 1e9:.1f} GB, which no archive of images does.")
            if path.parent not in folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                folders.add(path.parent)
            # "x" refuses a second member of the same name.
            with open(path, "xb", buffering=0) as out:
                content = file.read()
                out.write(content)
            bar.update(size)


def _members(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """(name, size, content) of the files in an archive; folders are made for them as needed."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                if stat.S_ISLNK(member.external_attr >> 16):
                    raise UserError(f"{archive} holds a link, {member.filename!r}; it is not extracted.")
                if not member.is_dir():
                    with opened.open(member) as file:
                        yield member.filename, member.file_size, file
    else:
        with tarfile.open(archive, "r:*") as opened:
            for member in opened:
                if not member.isfile() and not member.isdir():
                    raise UserError(f"{archive} holds a link or device, {member.name!r}; it is not extracted.")
                if member.isfile():
                    yield member.name, member.size, opened.extractfile(member)


def _checked(name: str, archive: Path) -> str:
    """The name of a member, if it stays within the folder that it is extracted to."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise UserError(f"{archive} holds a file that would land outside of its folder, {name!r}; it is not extracted.")
    return name
