"""What all data modules share: holdout, classes, statistics, options and loaders, on the small archive."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tiny_imagenet.data import DatasetInfo, TinyImageNetDataModule
from tiny_imagenet.data.images.packed import PackedImages
from tiny_imagenet.data.sets import tiny_imagenet
from tiny_imagenet.errors import UserError


def test_holdout_divides_the_training_images_and_tests_on_the_official_validation_images(module):
    data = module(holdout=0.25)
    data.setup("fit")
    data.setup("test")
    assert (len(data.sets["train"]), len(data.sets["val"]), len(data.sets["test"])) == (96, 32, 48)
    assert np.bincount(data.sets["val"].labels).tolist() == [8, 8, 8, 8]
    assert not set(data.sets["train"].names) & set(data.sets["val"].names)
    assert all("val_" in name for name in data.sets["test"].names)


def test_holdout_0_trains_on_all_and_says_what_it_validates_on(module, caplog):
    data = module(holdout=0)
    with caplog.at_level("INFO"):
        data.setup("fit")
    data.setup("test")
    assert len(data.sets["train"]) == 128
    assert data.sets["val"].names == data.sets["test"].names
    assert "training on all 128" in caplog.text


def test_classes_are_sorted_and_named_and_a_subset_has_labels_from_0(module):
    everything = module()
    everything.setup("fit")
    ids = everything.classes.ids
    assert list(ids) == sorted(ids)
    data = module(classes=[ids[3], ids[1]])
    data.setup("fit")
    assert data.classes.ids == (ids[1], ids[3])
    assert sorted(set(data.sets["train"].labels)) == [0, 1]
    for name, label in zip(data.sets["train"].names, data.sets["train"].labels, strict=True):
        assert name.startswith(data.classes.ids[label])
    assert data.info.class_names == (everything.classes.names[1], everything.classes.names[3])


def test_statistics_are_those_of_the_training_pixels(module):
    data = module()
    data.setup("fit")
    pixels = data.packed("train").images.astype(np.float64) / 255
    np.testing.assert_allclose(data.info.mean, pixels.mean(axis=(0, 1, 2)), atol=1e-9)
    np.testing.assert_allclose(data.info.std, pixels.std(axis=(0, 1, 2)), atol=1e-9)
    assert module(normalize="imagenet").info.mean == (0.485, 0.456, 0.406)


def test_the_files_of_a_split_are_scanned_once(module, monkeypatch):
    scanned = []
    monkeypatch.setattr(tiny_imagenet, "check_counts", lambda files, split, **_: scanned.append(split))
    data = module(holdout=0)
    data.setup("fit")
    data.setup("test")
    assert data.info and scanned == ["train", "val"]


def test_a_training_reads_its_images_ahead(module, monkeypatch):
    data, read = module(), []
    data.setup("fit")
    monkeypatch.setattr(PackedImages, "read_ahead", lambda images: read.append(images))
    data.val_dataloader()
    data.train_dataloader()
    assert read == [data.sets["train"]]


def test_a_batch_larger_than_the_data_is_an_error(module):
    data = module(batch_size=1000)
    data.setup("fit")
    with pytest.raises(UserError, match="batch_size 1000 is larger than the 115"):
        data.train_dataloader()


def test_single_images_that_devices_do_not_divide_are_an_error(module, monkeypatch):
    data = module(batch_size=1)
    data.setup("fit")
    monkeypatch.setattr(TinyImageNetDataModule, "_ranks", (0, 2))
    with pytest.raises(UserError, match="batch_size 1, 115 images cannot be divided between 2 devices"):
        data.train_dataloader()
    monkeypatch.setattr(TinyImageNetDataModule, "_ranks", (0, 5))
    assert [len(batch.targets) for batch in data.train_dataloader()] == [1] * 23


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"image_size": 0}, {"image_size": 64, "resize": 32}])
def test_impossible_options(module, options):
    with pytest.raises(UserError, match=next(reversed(options))):
        module(**options)


def test_a_network_of_other_classes_is_refused(module):
    data = module(classes=2)
    with pytest.raises(UserError, match="checkpoint has 2 classes"):
        data.adopt(DatasetInfo(("a", "b"), ("ant", "bee"), 64, (0, 0, 0), (1, 1, 1)))


def test_images_to_predict_are_decoded_by_processes_of_their_own(module, tmp_path):
    """Which the processes that read batches may not start."""
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "a.png")
    data = module(images=str(tmp_path), num_workers=2)
    data.setup("predict")
    (batch,) = data.predict_dataloader()
    assert batch.images[0, :, 0, 0].tolist() == [255, 0, 0]


def emptied(folder, *patterns) -> int:
    """Empty the files as a power cut does: their names stay."""
    paths = [path for pattern in patterns for path in folder.glob(pattern)]
    for path in paths:
        os.truncate(path, 0)
    return len(paths)


@pytest.mark.parametrize(
    ("holdout", "patterns"),
    [
        *((0.1, ["wnids.txt"]), (0.1, ["train/*/images/*7.JPEG"]), (0.1, ["**/*.txt", "**/*.JPEG"])),
        (0, ["val/**/*.JPEG"]),  # the training images are open already
    ],
)
def test_what_a_power_cut_emptied_is_extracted_again(module, tmp_path, caplog, holdout, patterns):
    """As it did with folders that were extracted before contents were synced."""
    whole = module(root=str(tmp_path), holdout=holdout)
    whole.prepare_data()
    folder = tmp_path / "small"
    assert emptied(folder, *patterns)
    data = module(root=str(tmp_path), holdout=holdout)
    data.prepare_data()
    assert "as after a power cut" in caplog.text
    assert data.sets["train"].digest == whole.sets["train"].digest and data.classes == whole.classes
    assert len(data.test_images()) == 48
    assert all(path.stat().st_size for path in folder.rglob("*.JPEG"))


def test_without_its_archive_a_power_cut_is_told(module, archive, tmp_path):
    copy = Path(shutil.copy(archive, tmp_path / "small.zip"))
    data = {"root": str(tmp_path / "data"), "archive": str(copy)}
    module(**data).prepare_data()
    emptied(tmp_path / "data" / "small", "wnids.txt")
    copy.unlink()
    with pytest.raises(UserError, match="wnids.txt is empty: it should list the class ids"):
        module(**data).prepare_data()


def test_a_file_that_was_edited_is_not_taken_back(module, tmp_path):
    module(root=str(tmp_path)).prepare_data()
    (tmp_path / "small" / "wnids.txt").write_text("n90000000\nn90000000\n")
    with pytest.raises(UserError, match="wnids.txt lists n90000000 more than once"):
        module(root=str(tmp_path)).prepare_data()
    assert (tmp_path / "small" / "wnids.txt").read_text() == "n90000000\nn90000000\n"
