"""Archives that are hostile or damaged, and disks that are too small for them."""

import gzip
import os
import shutil
import stat
import struct
import tarfile
import time
import zipfile
from collections import namedtuple

import pytest

from tests.helpers.archives import FILES, contents, write_tar, write_zip
from tiny_imagenet.data.fetch import unpack as unpacking
from tiny_imagenet.data.fetch import unpacked_size
from tiny_imagenet.data.fetch.archive import extracted
from tiny_imagenet.errors import UserError


@pytest.fixture
def written(monkeypatch) -> list[int]:
    """The lengths of all writes."""
    lengths, write = [], os.write
    monkeypatch.setattr(os, "write", lambda file, chunk: lengths.append(len(chunk)) or write(file, chunk))
    return lengths


def link(name, kind):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"
    return member


def zip_link(path):
    info = zipfile.ZipInfo("set/link")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return write_zip(path, {**FILES, info: b"/etc/passwd"})


def encrypted(path):
    """Set the bit in the local header and in the central directory."""
    data = bytearray(write_zip(path, {"set/a.txt": b"secret"}).read_bytes())
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(mark) + at] |= 1
    path.write_bytes(data)


def twice(path):
    with pytest.warns(UserWarning, match="Duplicate"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("set/a.txt", b"1")
            archive.writestr("set//a", b"2")
            archive.writestr("set/a.txt", b"2")


BOTH = "both a file and a folder"
HOSTILE = {
    "absolute.zip": (lambda path: write_zip(path, {**FILES, "/tmp/out": b""}), "absolute"),
    "long.zip": (
        lambda path: write_zip(path, {**FILES, "set/" + "x" * 300 + ".txt": b""}),
        "is not a valid file name on the disk of",
    ),
    "parent.zip": (lambda path: write_zip(path, {**FILES, "set/../../out": b""}), "outside"),
    "backslash.zip": (lambda path: write_zip(path, {**FILES, "set\\..\\..\\out": b""}), "outside"),
    "absolute_backslash.zip": (lambda path: write_zip(path, {"\\tmp\\out": b""}), "absolute"),
    "share.zip": (lambda path: write_zip(path, {"\\\\host\\share\\out": b""}), "absolute"),
    "parent_first.zip": (lambda path: write_zip(path, {"..\\out": b""}), "outside"),
    "drive_backslash.zip": (lambda path: write_zip(path, {"c:\\out": b""}), "outside"),
    "both_slashes.zip": (lambda path: write_zip(path, {"set/a.txt": b"1", "set\\a.txt": b"2"}), "twice"),
    "backslash.tar": (lambda path: write_tar(path, [("set\\..\\..\\out", b"")], "w"), "outside"),
    "drive.zip": (lambda path: write_zip(path, {"C:/out": b""}), "outside"),
    "symlink.zip": (zip_link, "a link"),
    "encrypted.zip": (encrypted, "encrypted"),
    "bzip2.zip": (lambda path: write_zip(path, compression=zipfile.ZIP_BZIP2), "compression type 12"),
    "twice.zip": (twice, "twice"),
    "file_and_folder.zip": (lambda path: write_zip(path, {"set/a.txt": b"1", "set/a.txt/b.txt": b"2"}), BOTH),
    "folder_and_file.zip": (lambda path: write_zip(path, {"set/a.txt/b.txt": b"2", "set/a.txt": b"1"}), BOTH),
    "absolute.tar": (lambda path: write_tar(path, [*FILES.items(), ("/tmp/out", b"")], "w"), "absolute"),
    "parent.tar.xz": (lambda path: write_tar(path, [*FILES.items(), ("../out", b"")], "w:xz"), "outside"),
    "parent.tgz": (lambda path: write_tar(path, [*FILES.items(), ("../out", b"")]), "outside"),
    "symlink.tgz": (lambda path: write_tar(path, [*FILES.items(), (link("set/x", tarfile.SYMTYPE), b"")]), "a link"),
    "hardlink.tgz": (lambda path: write_tar(path, [*FILES.items(), (link("set/x", tarfile.LNKTYPE), b"")]), "a link"),
    "fifo.tgz": (lambda path: write_tar(path, [*FILES.items(), (link("set/x", tarfile.FIFOTYPE), b"")]), "special"),
    "deep.zip": (lambda path: write_zip(path, {"d/" * 1500 + "a.txt": b"1"}), "below more than 100 folders"),
    "deep.tar": (lambda path: write_tar(path, [("d/" * 1500 + "a.txt", b"")], "w"), "below more than 100 folders"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_leaves_nothing(root, tmp_path, name):
    make, message = HOSTILE[name]
    make(path := tmp_path / name)
    with pytest.raises(UserError, match=message) as caught:
        extracted([str(path)], None, root)
    assert str(path) in str(caught.value)
    assert [entry.name for entry in root.iterdir()] == [".lock"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([name, "data"])


@pytest.mark.parametrize("suffix", ["zip", "tar.gz", "tar.xz", "tar.bz2"])
def test_a_bomb_is_refused_by_what_it_declares(root, tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(unpacked_size, "SMALL_BYTES", 10**6)
    files = {f"set/{number}": bytes(10**6) for number in range(3)}
    path = tmp_path / f"bomb.{suffix}"
    if suffix == "zip":
        write_zip(path, files, zipfile.ZIP_DEFLATED)
    else:
        write_tar(path, files.items(), f"w:{suffix[4:]}")
    monkeypatch.setattr(unpacking, "_write", None)
    with pytest.raises(UserError, match="more than 1,000,000 bytes.*decompression bomb"):
        extracted([str(path)], None, root)


@pytest.mark.parametrize(("constant", "least"), [("SMALL_BYTES", 10**6), ("MAX_BYTES", 2 * 10**6)])
def test_who_trusts_an_archive_may_unpack_more(root, tmp_path, monkeypatch, constant, least):
    """3 MB of zeros in 4 kB: beyond 20 times its size, or beyond the most there is."""
    monkeypatch.setattr(unpacked_size, constant, least)
    path = write_zip(tmp_path / "set.zip", {f"set/{n}.txt": bytes(10**6) for n in range(3)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match=f"more than {least:,} bytes.*environment variable TINY_IMAGENET_UNPACKED_MB"):
        extracted([str(path)], None, root)
    monkeypatch.setenv("TINY_IMAGENET_UNPACKED_MB", "3")  # headers count too
    with pytest.raises(UserError, match="more than 3,000,000 bytes"):
        extracted([str(path)], None, root)
    monkeypatch.setenv("TINY_IMAGENET_UNPACKED_MB", "4")
    assert sum(map(len, contents(extracted([str(path)], None, root)).values())) == 3 * 10**6
    monkeypatch.setenv("TINY_IMAGENET_UNPACKED_MB", "4 GB")
    shutil.rmtree(root)
    with pytest.raises(UserError, match="TINY_IMAGENET_UNPACKED_MB must be a number of megabytes, not '4 GB'"):
        extracted([str(path)], None, root)


@pytest.mark.parametrize("write", [write_zip, lambda path, files: write_tar(path, files.items())], ids=["zip", "tar"])
def test_only_data_is_written(root, tmp_path, caplog, write):
    """A config may choose the folder, which may be one that programs look for code or settings in."""
    others = ["__init__.py", "a.pth", "lib.so", "run", ".ssh/config.txt", "sub/.bashrc", ".hidden.png", "Makefile"]
    wanted = ["sub/a.JPEG", "b.png", "wnids.txt", "data_batch_1.bin"]
    path = write(
        tmp_path / f"set.{'zip' if write is write_zip else 'tgz'}", {f"set/{n}": b"x" for n in others + wanted}
    )
    with caplog.at_level("INFO"):
        found = contents(extracted([str(path)], None, root))
    assert sorted(found) == sorted(wanted)
    kinds = "3 hidden, 2 without extension, 1 .py, 1 .pth, 1 .so"
    assert f"skipped 8 file(s) that are not data, such as 'set/__init__.py' ({kinds})" in caplog.text


def test_an_archive_without_a_name_or_with_a_hidden_one_is_refused(root, tmp_path):
    for name in (".ssh.zip", ".zip"):
        with pytest.raises(UserError, match="is not the name of an archive"):
            extracted([str(write_zip(tmp_path / name))], None, root)


def test_a_bomb_that_declares_less_writes_no_more_than_that(root, tmp_path, written):
    data = bytearray(write_zip(tmp_path / "lie.zip", {"a.txt": bytes(10**7)}, zipfile.ZIP_DEFLATED).read_bytes())
    for mark, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<I", data, data.index(mark) + at, 5000)
    (tmp_path / "lie.zip").write_bytes(data)
    with pytest.raises(UserError, match="lie.zip is damaged"):
        extracted([str(tmp_path / "lie.zip")], None, root)
    assert sum(written) <= 5000


def test_more_bytes_than_declared_are_never_written(root, tmp_path, monkeypatch, written):
    """Whatever a reader returns: the rule doesn't rest on zipfile's own."""
    path = write_zip(tmp_path / "set.zip", {"a.txt": b"12345"})
    monkeypatch.setattr(unpacking, "_chunks", lambda *_: iter([b"1234", b"56", b"7" * 10**6]))
    with pytest.raises(UserError, match="does not have its declared size, 5 bytes"):
        extracted([str(path)], None, root)
    assert written == [4]


def header(kind, size, body=b"", name="set/a.txt"):
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT) + body + bytes(-len(body) % tarfile.BLOCKSIZE)


def extended(body):
    return header(tarfile.XHDTYPE, len(body), body)


SPARSE = b"".join(b"%d %s\n" % (len(line) + 4, line) for line in (
    b"GNU.sparse.major=1", b"GNU.sparse.minor=0", b"GNU.sparse.name=a.txt", b"GNU.sparse.realsize=9",
))  # fmt: skip
MAP = b"2000000\n" + b"0\n" * 4_000_000
HEADER_BOMBS = {
    "a name of gigabytes": header(tarfile.GNUTYPE_LONGNAME, 1 << 33, bytes(10**6)),
    "the map of a sparse file": extended(SPARSE) + header(tarfile.REGTYPE, len(MAP), MAP),
    "digits, of which tarfile tries every pair": extended(b"1" * 10**6),
    "digits, in many": b"".join(extended(b"1" * 12_000) + header(b"0", 0, name=f"{n}.txt") for n in range(40)),
}


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
@pytest.mark.parametrize("bomb", HEADER_BOMBS)
def test_a_header_takes_neither_hours_nor_memory(root, tmp_path, bomb, suffix):
    """tarfile makes 4 GB of 80 KB in a tar.gz, and takes hours over a megabyte of digits."""
    content = header(tarfile.REGTYPE, 1, b"1") + HEADER_BOMBS[bomb] + header(tarfile.REGTYPE, 0) + bytes(1024)
    path = tmp_path / f"set.{suffix}"
    path.write_bytes(gzip.compress(content) if suffix == "tar.gz" else content)
    start = time.process_time()
    with pytest.raises(UserError, match="a header has more than 16,384 bytes, or a thousand digits in a row"):
        extracted([str(path)], None, root)
    assert time.process_time() - start < 1


def test_a_sparse_file_is_refused(root, tmp_path):
    content = extended(SPARSE) + header(tarfile.REGTYPE, 512, b"1\n0\n0\n") + bytes(1024)
    (tmp_path / "set.tar").write_bytes(content)
    with pytest.raises(UserError, match="member 'a.txt' is a link or a special file"):
        extracted([str(tmp_path / "set.tar")], None, root)


def test_empty_files_without_end_are_refused(root, tmp_path, monkeypatch):
    """100,000 of them take 220 KB of a tar.gz, and a hundred MB of memory to list."""
    monkeypatch.setattr(unpacked_size, "SMALL_BYTES", 10**6)
    path = tmp_path / "set.tar.gz"
    path.write_bytes(gzip.compress(header(tarfile.REGTYPE, 0) * 10_000 + bytes(1024)))
    with pytest.raises(UserError, match="more than 1,000,000 bytes.*decompression bomb"):
        extracted([str(path)], None, root)


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tar.xz", "tar.bz2"])
@pytest.mark.parametrize("share", [0, 0.002, 0.5, 0.99])
def test_a_truncated_archive_is_named(root, tmp_path, suffix, share):
    path = tmp_path / f"set.{suffix}"
    if suffix == "zip":
        write_zip(path)
    else:
        # Without the padding of zeros, which may well be missing.
        write_tar(path, FILES.items(), f"w:{suffix[4:]}")
    data = path.read_bytes().rstrip(b"\0")
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=f"{path}.*(is damaged|not a complete zip or tar)"):
        extracted([str(path)], None, root)
    assert path.exists()
    assert [entry.name for entry in root.iterdir()] == [".lock"]


@pytest.mark.parametrize("suffix", ["zip", "tar.gz", "tar.xz", "tar.bz2"])
def test_a_flipped_bit_is_noticed(root, tmp_path, suffix):
    path = tmp_path / f"set.{suffix}"
    write_zip(path) if suffix == "zip" else write_tar(path, FILES.items(), f"w:{suffix[4:]}")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    # bzip2 may find the damage before any file's header can be read, or at the end of the block.
    expected = "is damaged|not a complete zip or tar" if suffix == "tar.bz2" else "is damaged"
    with pytest.raises(UserError, match=expected):
        extracted([str(path)], None, root)


def test_free_space_is_asked_for_first(root, tmp_path, monkeypatch):
    path = write_zip(tmp_path / "set.zip")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(1000))
    # One block for the three bytes, 74 for the 300,000.
    with pytest.raises(UserError, match=f"needs {75 * 4.096:.1f} kB, but only 1.0 kB are free"):
        extracted([str(path)], None, root)
    assert [entry.name for entry in root.iterdir()] == [".lock"]


@pytest.mark.parametrize("suffix", ["zip", "tar"])
def test_an_archive_of_nothing(root, tmp_path, suffix):
    path = tmp_path / f"set.{suffix}"
    write_zip(path, {}) if suffix == "zip" else path.write_bytes(bytes(10240))
    with pytest.raises(UserError, match="it is empty|not a complete zip or tar"):
        extracted([str(path)], None, root)


def test_a_damaged_header_is_not_taken_for_the_end(root, tmp_path):
    path = write_tar(tmp_path / "set.tar", [("a.txt", b"1"), ("b.txt", b"2")], "w")
    data = bytearray(path.read_bytes())
    data[1024 + 5] ^= 1  # in the second header, after the first and its one block
    path.write_bytes(data)
    with pytest.raises(UserError, match="its end mark is missing"):
        extracted([str(path)], None, root)
