"""CIFAR10DataModule: records to packed images, against pixels that were put in by hand."""

import io
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
