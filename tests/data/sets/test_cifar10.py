"""CIFAR10DataModule: records to packed images, against pixels that were put in by hand."""

import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from tiny_imagenet.data import CIFAR10DataModule
from tiny_imagenet.data.sets import cifar10 as cifar
from tiny_imagenet.errors import UserError

NAMES = ("airplane", "automobile", "bird")


@pytest.fixture
def pixels():
    """Of three training batches of 20 images and a test batch of 10: uint8 [N, 32, 32, 3], with labels."""
    rng = np.random.default_rng(0)
    counts = {"data_batch_1": 20, "data_batch_2": 20, "data_batch_10": 20, "test_batch": 10}
    return {
        name: (rng.integers(0, 256, (count, 32, 32, 3), np.uint8), np.arange(count) % len(NAMES))
        for name, count in counts.items()
    }


@pytest.fixture
def archive(pixels, tmp_path):
    """Made as the format's description says: a label, then all of red, of green and of blue, row by row."""

    def write(meta=b"airplane\nautomobile\nbird\n\n", change=lambda files: None):
        files = {"batches.meta.txt": meta, "readme.html": b"<html>"}
        for name, (images, labels) in pixels.items():
            records = (
                bytes([label]) + b"".join(image[:, :, channel].tobytes() for channel in range(3))
                for image, label in zip(images, labels, strict=True)
            )
            files[f"{name}.bin"] = b"".join(records)
        change(files)
        path = tmp_path / "cifar-10-binary.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            for name, content in files.items():
                info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return CIFAR10DataModule(root=str(tmp_path / "data"), archive=str(path), md5=None, batch_size=8)

    return write


def test_pixels_and_labels_are_those_of_the_records(archive, pixels):
    data = archive()
    assert data.classes.ids == data.classes.names == NAMES
    for split, batches in {"train": ["data_batch_1", "data_batch_10", "data_batch_2"], "test": ["test_batch"]}.items():
        packed = data.packed(split)
        np.testing.assert_array_equal(packed.images, np.concatenate([pixels[batch][0] for batch in batches]))
        np.testing.assert_array_equal(packed.labels, np.concatenate([pixels[batch][1] for batch in batches]))
        assert packed.names[3] == f"{batches[0]}.bin#3"


@pytest.fixture
def pickled(pixels, tmp_path):
    """The same images in the Python version: rows of red, green and blue in an array, and labels in a list."""

    def write(protocol=2, change=lambda files: None):
        files = {"batches.meta": {b"label_names": [name.encode() for name in NAMES], b"num_vis": 3072}}
        for name, (images, labels) in pixels.items():
            data = images.transpose(0, 3, 1, 2).reshape(len(images), 3072)
            files[name] = {b"data": data, b"labels": labels.tolist(), b"batch_label": b"batch"}
        change(files)
        path = tmp_path / "cifar-10-python.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            for name, content in files.items():
                content = content if isinstance(content, bytes) else pickle.dumps(content, protocol)
                info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return CIFAR10DataModule(root=str(tmp_path / "data"), archive=str(path), md5=None, batch_size=8)

    return write


@pytest.mark.parametrize("protocol", [2, 5])
def test_the_python_version_is_the_same_data_set(archive, pickled, protocol):
    binary, python = archive(), pickled(protocol)
    assert python.classes == binary.classes
    for data in binary, python:
        data.setup("fit")
        data.setup("test")
    for name, images in binary.sets.items():
        assert python.sets[name].names == images.names
        assert python.sets[name].labels.tolist() == images.labels.tolist()
        rows = np.arange(len(images))
        assert python.sets[name][rows][0].equal(images[rows][0])
    assert python.info == binary.info


def test_the_python_version_as_a_folder_or_in_one(pickled, tmp_path):
    names = pickled().packed("train").names
    for root in tmp_path / "data" / "cifar-10-python", tmp_path / "data":
        data = CIFAR10DataModule(root=str(root), archive=None, md5=None)
        assert data.packed("train").names == names and data.classes.ids == NAMES


def test_the_official_python_archive_is_expected_by_its_own_checksum(pickled):
    archive = pickled().archive
    assert CIFAR10DataModule(archive=archive).md5 == cifar.PYTHON_MD5
    assert CIFAR10DataModule(archive=archive, md5=None).md5 is None
    assert CIFAR10DataModule().md5 == cifar.MD5


def test_names_that_are_missing_are_those_of_cifar_10(pickled, caplog):
    caplog.set_level("INFO")
    data = pickled(change=lambda files: files["batches.meta"].pop(b"label_names"))
    assert data.classes.ids[:4] == ("airplane", "automobile", "bird", "cat") and len(data.classes.ids) == 10
    assert "has no label_names: the classes are taken for those of CIFAR-10." in caplog.text


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("hostile",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.update(data_batch_1=Hostile()), "data_batch_1 is no batch.*it would run posix.mkdir"),
        (lambda files: files.update({"batches.meta": Hostile()}), "batches.meta is no batch.*it would run posix.mkdir"),
        (lambda files: files.update(data_batch_1=pickle.dumps({b"data": 1})[:-3]), "data_batch_1 is no batch.*damaged"),
        (lambda files: files["test_batch"].pop(b"labels"), "test_batch: labels should be a list of 10 numbers"),
        (lambda files: files["test_batch"][b"labels"].append(1), "labels should be a list of 10 numbers"),
        (lambda files: files["test_batch"][b"labels"].__setitem__(3, 256), "labels should be a list of 10 numbers"),
        (
            lambda files: files["test_batch"][b"labels"].__setitem__(3, 3),
            "test_batch: record 3 has label 3; there are 3",
        ),
        (
            lambda files: files["test_batch"].update({b"data": np.zeros((10, 3071), np.uint8)}),
            r"bytes \[images, 3,072\]",
        ),
        (lambda files: files["batches.meta"].update({b"label_names": [b"a", b"a"]}), "should list different classes"),
        (lambda files: files["batches.meta"].update({b"label_names": [1, 2]}), "should be a list of names"),
        (lambda files: files.pop("test_batch"), "has no test_batch.bin and no test_batch"),
    ],
)
def test_a_damaged_python_version_is_named_and_a_hostile_one_runs_nothing(
    pickled, tmp_path, monkeypatch, change, message
):
    monkeypatch.chdir(tmp_path)
    data = pickled(change=change)
    with pytest.raises(UserError, match=message):
        data.setup("fit")
        data.setup("test")
    assert not (tmp_path / "hostile").exists()


def test_class_names_may_have_spaces(archive):
    assert archive(meta=b"polar bear\nsea eel\ndog\n").classes.ids == ("polar bear", "sea eel", "dog")


def test_statistics(archive):
    data = archive()
    data.setup("fit")
    images = data.packed("train").images / 255
    np.testing.assert_allclose(data.info.mean, images.mean(axis=(0, 1, 2)), atol=1e-12)
    np.testing.assert_allclose(data.info.std, images.std(axis=(0, 1, 2)), atol=1e-12)


def test_splits(archive):
    data = archive()
    data.setup("fit")
    data.setup("test")
    data.setup("predict")
    assert [len(data.sets[name]) for name in ("train", "val", "test", "predict")] == [54, 6, 10, 10]
    assert data.sets["predict"].labels.tolist() == list(range(10))


def test_it_is_packed_once_and_again_when_a_file_changes(archive):
    first = archive()

    def again() -> CIFAR10DataModule:
        return CIFAR10DataModule(root=str(first.root), archive=first.archive, md5=None)

    cache = first.packed("train").cache
    before = (cache / "pixels.npy").stat().st_ino
    again().packed("train")
    assert (cache / "pixels.npy").stat().st_ino == before
    file = cache.parent.parent / "data_batch_1.bin"
    file.write_bytes(file.read_bytes()[:-3073])
    assert len(again().packed("train")) == 59


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda files: files.update({"data_batch_2.bin": files["data_batch_2.bin"][:-1]}),
            "not whole records of 3,073",
        ),
        (lambda files: files.update({"test_batch.bin": b""}), "test_batch.bin has 0 bytes"),
        (lambda files: files.update({"data_batch_1.bin": b"\3" + bytes(3072)}), "record 0 has label 3; there are 3 cl"),
        (lambda files: files.pop("batches.meta.txt"), "batches.meta.txt can't be read"),
        (lambda files: files.update({"batches.meta.txt": b"cat\ncat\n"}), "should list different classes"),
        (lambda files: files.pop("test_batch.bin"), "has no test_batch.bin"),
        (lambda files: [files.pop(f"data_batch_{n}.bin") for n in (1, 2, 10)], "has no data_batch_"),
    ],
)
def test_damaged_files_are_named(archive, change, message):
    data = archive(change=change)
    with pytest.raises(UserError, match=message):
        data.setup("fit")
        data.setup("test")


def test_the_official_archive_must_be_complete(archive):
    data = archive()
    data.packed("train")
    data.md5 = cifar.MD5
    with pytest.raises(UserError, match="60 of 50,000 train images"):
        data.packed("train")
