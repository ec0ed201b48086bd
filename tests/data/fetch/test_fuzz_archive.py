"""Random archives: exactly the data files that zipfile or tarfile see come out, or a message and nothing else."""

import gzip
import io
import os
import re
import shutil
import stat
import tarfile
import zipfile
from contextlib import suppress
from pathlib import PurePosixPath
from unittest import mock

import pytest
from hypothesis import strategies as st

from tests.helpers.archives import contents
from tests.helpers.fuzzing import DAMAGE, EXAMPLES, FAST, damaged, fuzz, kind_of
from tiny_imagenet.data.fetch import unpacked_size
from tiny_imagenet.data.fetch.archive import extracted
from tiny_imagenet.data.fetch.wanted import DATA
from tiny_imagenet.errors import UserError

PLAIN = ["a.txt", "set/b.JPEG", "set/sub/c.png", "./d.csv", "set/ä.json", "code.py", ".git/config.txt", "set/.e.txt"]
ODD = [
    "/tmp/f.txt",
    "../f.txt",
    "set/../../f.txt",
    "..\\f.txt",
    "C:/f.txt",
    "a.txt",
    "./a.txt",
    "a.txt/b.txt",
    "set",
    ".",
    "",
    "x" * 300 + ".txt",
]
CONTENT = st.binary(max_size=64) | st.integers(0, 200_000).map(bytes)
PLAIN_MEMBERS = st.dictionaries(st.sampled_from(PLAIN), CONTENT, min_size=1).map(lambda files: list(files.items()))
ODD_MEMBERS = st.lists(st.tuples(st.sampled_from(PLAIN + ODD) | st.sampled_from(ODD) | st.text(max_size=9), CONTENT))
MEMBERS = PLAIN_MEMBERS | st.tuples(PLAIN_MEMBERS, ODD_MEMBERS).map(lambda lists: lists[0] + lists[1][:2])
PAX = st.just({}) | st.dictionaries(
    st.sampled_from(["path", "size", "hdrcharset", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.major"]),
    st.sampled_from(["../f.txt", "5", "-5", "1e9", "0,1,5,9", "x" * 200, "BINARY", "\0", "1"]),
)  # fmt: skip


@st.composite
def zips(draw):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in draw(MEMBERS):
            member = zipfile.ZipInfo(name or "x")
            member.create_system = 3
            member.external_attr = draw(st.sampled_from([0] * 15 + [stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK])) << 16
            archive.writestr(member, content, draw(st.sampled_from([0] * 9 + [8] * 9 + [12])))
    return damaged(file.getvalue(), draw(DAMAGE))


@st.composite
def tars(draw):
    blocks = []
    for name, content in draw(MEMBERS):
        member = tarfile.TarInfo(name)
        member.type = draw(st.sampled_from([b"0"] * 40 + [b"\0", b"1", b"2", b"5", b"6", b"7", b"L", b"S", b"x", b"g"]))
        member.size = draw(st.sampled_from([len(content)] * 20 + [0, 1, 511, 1 << 20, 1 << 33, 1 << 60]))
        member.linkname, member.pax_headers = "a.txt", draw(PAX)
        blocks += [member.tobuf(draw(st.sampled_from([1, 1, 2]))), content + bytes(-len(content) % 512)]
    data = b"".join(blocks) + bytes(512 * draw(st.sampled_from([2, 2, 0, 1])))
    data = damaged(data, draw(DAMAGE))
    if draw(st.booleans()):
        data = b"".join(_summed(data[at : at + 512]) for at in range(0, len(data), 512))
    return damaged(gzip.compress(data), draw(DAMAGE)) if draw(st.booleans()) else data


def _summed(block):
    """A tar header with the right sum, which its damage then does not give away."""
    if block[257:262] != b"ustar" or len(block) < 512:
        return block
    return block[:148] + b"%06o\0 " % (sum(block) - sum(block[148:156]) + 256) + block[156:]


def zip_name(member):
    """With slashes, and in UTF-8 where the bytes of a name without its flag are that."""
    name = member.filename
    if not member.flag_bits & 0x800:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def data_files(path):
    """The data files of an archive that was accepted, by zipfile or tarfile alone; a name that is there twice fails."""
    with open(path, "rb") as file:
        is_zip = file.read(2) == b"PK"
    files, tops = {}, set()
    with (zipfile.ZipFile if is_zip else tarfile.open)(path) as archive:
        for member in archive.infolist() if is_zip else archive:
            name = zip_name(member) if is_zip else member.name
            is_folder = name.endswith("/") if is_zip else member.isdir()
            assert is_zip or is_folder or member.isfile()
            pure = PurePosixPath(name)
            assert not (pure.is_absolute() or ".." in pure.parts or re.match(r"[A-Za-z]:", name) or "\\" in name)
            is_data = is_folder or pure.suffix.lower() in DATA
            if pure.parts and is_data and not any(part.startswith(".") for part in pure.parts):
                tops.add(pure.parts[0] + ("/" if is_folder or len(pure.parts) > 1 else ""))
                if not is_folder:
                    assert str(pure) not in files
                    files[str(pure)] = archive.read(member) if is_zip else archive.extractfile(member).read()
    top = tops.pop() if len(tops) == 1 else ""
    return {name.removeprefix(top) if top.endswith("/") else name: content for name, content in files.items()}


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("suffix, archives", [("zip", zips()), ("tar", tars()), ("tar", zips() | tars())])
def test_archives(tmp_path, suffix, archives, examples):
    path, root = tmp_path / f"set.{suffix}", tmp_path / "data"
    write = os.write

    def check(data):
        shutil.rmtree(root, ignore_errors=True)
        path.write_bytes(data)
        sizes = []
        try:
            with (
                mock.patch.object(unpacked_size, "SMALL_BYTES", 500_000),
                mock.patch("os.write", lambda file, chunk: sizes.append(len(chunk)) or write(file, chunk)),
            ):
                found = contents(extracted([str(path)], None, root))
        except UserError as error:
            assert str(path) in str(error)
            assert os.listdir(root) == [".lock"]
            outcome = kind_of(error)
        else:
            assert found == data_files(path)
            assert sorted(os.listdir(root)) == [".lock", "set"]
            outcome = "extracted"
        assert sum(sizes) <= max(500_000, unpacked_size.MAX_RATIO * len(data))
        assert sorted(os.listdir(tmp_path)) == ["data", path.name]
        return outcome

    fuzz(check, examples // 2, archives)


@pytest.mark.parametrize("examples", [FAST // 4])
@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
def test_plain_archives_are_not_refused(tmp_path, suffix, examples):
    path, root = tmp_path / f"set.{suffix}", tmp_path / "data"

    def check(members):
        shutil.rmtree(root, ignore_errors=True)
        if suffix == "zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, content in members:
                    archive.writestr(name, content)
        else:
            with tarfile.open(path, "w:gz" if suffix == "tar.gz" else "w") as archive:
                for name, content in members:
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        assert contents(extracted([str(path)], None, root)) == data_files(path)
        return "extracted"

    fuzz(check, examples, PLAIN_MEMBERS)
