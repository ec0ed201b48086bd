"""Tiny ImageNet as Parquet files: the same classes and images as in the official layout."""

import builtins
import json
import os
import shutil

import numpy as np
import pytest

from tiny_imagenet.data import TinyImageNetDataModule
from tiny_imagenet.data.fetch import unpacked_size
from tiny_imagenet.data.sets.parquet import parquet_files, unpack_parquet
from tiny_imagenet.errors import UserError

IDS = ["n02", "n01", "n03"]  # in the order of the file's labels, which is not that of their names


def rows(split, number):
    """Bytes and label of each image, as they are put in."""
    return [(f"{split} {place}".encode(), place % len(IDS)) for place in range(number)]


@pytest.fixture
def written(tmp_path):
    """Write the files with pyarrow, as Hugging Face's `datasets` does."""
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow, an extra, is not installed")
    from pyarrow import parquet

    def write(name, pairs, ids=IDS, columns=("image", "label"), folder=tmp_path / "data"):
        features = {"image": {"_type": "Image"}, "label": {"names": ids, "_type": "ClassLabel"}}
        images = [{"bytes": content, "path": None} for content, _ in pairs]
        table = pyarrow.table(dict(zip(columns, (images, [label for _, label in pairs]), strict=True)))
        if ids:
            text = json.dumps({"info": {"features": features}})
            table = table.replace_schema_metadata({"huggingface": text})
        folder.mkdir(exist_ok=True)
        parquet.write_table(table, folder / name, row_group_size=5)
        return folder / name

    return write


@pytest.fixture
def both(written, tmp_path):
    """Two files of training images and one of validation images."""
    written("train-00001-of-00002.parquet", rows("train", 12)[7:])
    written("train-00000-of-00002-1359597a978bc4fa.parquet", rows("train", 12)[:7])
    written("valid-00000-of-00001.parquet", rows("valid", 6))
    return tmp_path


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_image_is_written_into_the_folder_of_its_class(both):
    found = tree(unpack_parquet(both))
    assert found.pop("wnids.txt").split() == [b"n02", b"n01", b"n03"]
    record = json.loads(found.pop(".parquet.json"))
    assert list(record) == [path.name for paths in parquet_files(both).values() for path in paths]
    assert found == {
        f"{folder}/{IDS[label]}/images/{folder}_{place:06}.JPEG": content
        for folder, split, number in (("train", "train", 12), ("val", "valid", 6))
        for place, (content, label) in enumerate(rows(split, number))
    }


def test_it_is_unpacked_once_and_again_when_a_file_changes(both, written, monkeypatch):
    folder = unpack_parquet(both)
    before = os.stat(folder / "wnids.txt").st_ino
    unpack_parquet(both)
    assert os.stat(folder / "wnids.txt").st_ino == before
    written("valid-00000-of-00001.parquet", rows("valid", 3))
    assert len(list((unpack_parquet(both) / "val").rglob("*.JPEG"))) == 3
    assert sorted(path.name for path in both.iterdir()) == ["data", "unpacked"]


def test_the_data_set_is_that_of_the_archive(archive, module, written, tmp_path):
    """The images of the official layout, put into Parquet in another order of classes."""
    plain = module(image_size=64)
    for stage in "fit", "test":
        plain.setup(stage)
    ids = plain.classes.ids[::-1]
    for split, name in (("train", "train-0.parquet"), ("val", "validation-0.parquet")):
        images = plain.packed(split)
        pairs = [
            ((images.files.folder / file).read_bytes(), ids.index(plain.classes.ids[label]))
            for file, label in zip(images.names, images.labels, strict=True)
        ]
        written(name, pairs, list(ids))
    data = TinyImageNetDataModule(str(tmp_path), None, None, image_size=64, batch_size=8, holdout=0)
    data.setup("fit")
    assert data.classes.ids == plain.classes.ids
    for split, name in (("train", "train"), ("val", "val")):
        expected, found = plain.packed(split), data.sets[name]
        order = np.argsort(found.labels, kind="stable")
        np.testing.assert_array_equal(np.sort(found.labels), np.sort(expected.labels))
        first, second = (
            sorted(zip(images.labels.tolist(), [each.tobytes() for each in images.images], strict=True))
            for images in (found, expected)
        )
        assert first == second and len(order) == len(expected)
    again = TinyImageNetDataModule(str(tmp_path), None, None, image_size=64, batch_size=8, holdout=0)
    again.setup("fit")
    assert again.sets["train"].names == data.sets["train"].names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda write: write("train-0.parquet", [(b"x", 3)]), "image 0 has label 3; there are 3 classes"),
        (lambda write: write("train-0.parquet", [(b"x", None)]), "image 0 has label None"),
        (lambda write: write("train-0.parquet", [(b"x", 0), (b"", 0)]), "image 1 has no bytes"),
        (lambda write: write("train-0.parquet", [(None, 0)]), "image 0 has no bytes"),
        (
            lambda write: write("train-0.parquet", [(b"x", 0)], ["n01", "n02", "n03"]),
            "other classes than the files before",
        ),
        (lambda write: write("train-0.parquet", [(b"x", 0)], ["n01", "../n02"]), "can't be class ids"),
        (lambda write: write("train-0.parquet", [(b"x", 0)], ["n01", "n01"]), "at least two different classes"),
        (lambda write: write("train-0.parquet", [(b"x", 0)], None), "has no names for its labels"),
        (
            lambda write: write("train-0.parquet", [(b"x", 0)], columns=("img", "label")),
            "columns image and label, but has",
        ),
        (lambda write: write("train-0.parquet", rows("t", 9)).write_bytes(b"PAR1 no PAR1"), "is no Parquet file"),
        (lambda write: _cut(write("train-0.parquet", rows("t", 900))), "is damaged|no Parquet file"),
    ],
)
def test_a_wrong_file_is_named_and_leaves_nothing(written, tmp_path, change, message):
    written("valid-0.parquet", rows("valid", 6))
    change(written)
    with pytest.raises(UserError, match=message):
        unpack_parquet(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def _cut(path):
    """Zeros in place of some pages."""
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    path.write_bytes(content)


def test_too_many_bytes_are_refused(both, monkeypatch):
    monkeypatch.setattr(unpacked_size, "MAX_BYTES", 100)
    with pytest.raises(UserError, match=r"parquet unpacks to more than 100 bytes.*TINY_IMAGENET_UNPACKED_MB"):
        unpack_parquet(both)
    assert [path.name for path in both.iterdir()] == ["data"]


def test_a_folder_that_is_not_from_here_is_left_alone(both):
    (both / "unpacked").mkdir()
    with pytest.raises(UserError, match="unpacked exists already, but was not written by this program"):
        unpack_parquet(both)


def test_files_of_no_split_are_told_and_a_split_must_not_be_missing(tmp_path, caplog):
    for name in "train-0.parquet", "test-0.parquet":
        (tmp_path / name).touch()
    with caplog.at_level("INFO"), pytest.raises(UserError, match="has no Parquet file of val images"):
        unpack_parquet(tmp_path)
    assert "left out test-0.parquet, of no split" in caplog.text


def test_without_pyarrow_one_line_says_what_to_install(tmp_path, monkeypatch):
    for name in "train-0.parquet", "valid-0.parquet":
        (tmp_path / name).touch()
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match="is read with pyarrow, which is not installed: pip install pyarrow$"):
        unpack_parquet(tmp_path)
    shutil.rmtree(tmp_path / "unpacked", ignore_errors=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train-0.parquet", "valid-0.parquet"]
