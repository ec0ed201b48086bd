"""What the address of an archive says: whether it is a local file, the archive's name, and its folder."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from tiny_imagenet.data.fetch.unpack import SUFFIX
from tiny_imagenet.errors import UserError

KEPT = ".wrong-md5"  # ends the name of a download that is whole but has another MD5


def local_path(source: str) -> Path | None:
    """The local file that a source names; None for an HTTP URL.

    Raises:
        UserError: it is neither a path nor a URL that can be used.
    """
    try:
        address = urlsplit(source)
    except ValueError as error:
        raise UserError(f"{source} is not a valid URL: {error}.") from None
    if address.scheme in ("http", "https") and address.hostname:
        return None
    if address.scheme == "file" and address.netloc in ("", "localhost"):
        return Path(url2pathname(address.path))
    if "://" in source:
        raise UserError(f"{source} can't be used: give an http://, https:// or file:/// URL, or a path.")
    return Path(os.path.expanduser(source))  # unlike Path.expanduser, keeps the ~ of an unknown user


def archive_of(source: str, root: Path) -> Path:
    """The archive's file: a local one in place, or a download in `root`; it need not exist."""
    return local_path(source) or root / name_of(source)


def folder_of(source: str, root: Path) -> Path:
    """The folder that an archive is extracted to."""
    return root / SUFFIX.sub("", name_of(source))


def name_of(source: str) -> str:
    """The file name of an archive.

    Raises:
        UserError: the source is not the name of an archive.
    """
    path = local_path(source)
    name = (path.name if path else unquote(urlsplit(source).path).rpartition("/")[2]).removesuffix(KEPT)
    if not SUFFIX.search(name) or name.startswith("."):
        if path and path.is_dir():
            raise UserError(f"{source} is a folder, not an archive: set --data.root {source} --data.archive null.")
        raise UserError(
            f"{source} is not the name of an archive: use a .zip or .tar file, or a .tar.gz, .tar.bz2 or .tar.xz."
        )
    return name
