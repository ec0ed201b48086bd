"""The generated data set: the official layout, the same bytes each time, and what can and can't be learned from it."""

import hashlib
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tiny_imagenet.data.images.packed import pack
from tiny_imagenet.data.images.scan import scan_classes, scan_flat
from tiny_imagenet.data.sets.textures import FOLDER, NAMES, write_synthetic_archive
from tiny_imagenet.data.sets.tiny_imagenet_layout import check_counts, read_classes, restructure_validation
from tiny_imagenet.errors import UserError

TRAIN, VAL = 120, 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten classes, extracted and restructured."""
    base = tmp_path_factory.mktemp("synthetic")
    write_synthetic_archive(base / "a.zip", train_per_class=TRAIN, val_per_class=VAL, test_images=10)
    with zipfile.ZipFile(base / "a.zip") as archive:
        archive.extractall(base)
    restructure_validation(base / FOLDER)
    return base / FOLDER


@pytest.fixture(scope="module")
def images(folder):
    """(pixels, labels) of the training and of the validation images: float32 [N, 64, 64, 3] in -0.5..0.5, int64 [N]."""
    ids = read_classes(folder).ids
    sets = [pack(scan_classes(folder / split, ids), 64, folder / "packed" / split) for split in ("train", "val")]
    return [(each.images.astype(np.float32) / 255 - 0.5, each.labels) for each in sets]


def test_it_has_the_official_layout(folder):
    classes = read_classes(folder)
    listed = (folder / "wnids.txt").read_text().split()
    assert sorted(listed) == list(classes.ids) != listed
    assert classes.names == tuple(NAMES[:10])
    for split, number in ("train", TRAIN), ("val", VAL):
        files = scan_classes(folder / split, classes.ids)
        assert np.bincount(files.labels).tolist() == [number] * 10
        check_counts(files, split)
        modes = [Image.open(folder / split / name).mode for name in files.names]
        assert 0.005 < modes.count("L") / len(modes) < 0.05
    assert len((folder / "train" / classes.ids[0] / f"{classes.ids[0]}_boxes.txt").read_text().splitlines()) == TRAIN
    for name in scan_flat(folder / "test" / "images").names:
        assert Image.open(folder / "test" / "images" / name).size == (64, 64)


def test_the_bytes_follow_from_the_arguments(tmp_path):
    sizes = {"classes": 3, "train_per_class": 3, "val_per_class": 2, "test_images": 2, "image_size": 32}
    digests = []
    for number, seed in enumerate([5, 5, 6]):
        write_synthetic_archive(tmp_path / "deeper" / f"{number}.zip", **sizes, seed=seed)
        digests.append(hashlib.sha256((tmp_path / "deeper" / f"{number}.zip").read_bytes()).digest())
    assert digests[0] == digests[1] != digests[2]
    assert len(list((tmp_path / "deeper").iterdir())) == 3


def test_the_splits_share_no_image(images):
    rows = [set(map(bytes, pixels.reshape(len(pixels), -1))) for pixels, _ in images]
    assert len(rows[0]) == 10 * TRAIN and not rows[0] & rows[1]


def test_a_linear_classifier_stays_under_twice_chance(images):
    (train, labels), (val, val_labels) = images
    train, val = train.reshape(len(train), -1), val.reshape(len(val), -1)
    # Least squares onto one-hot targets, in closed form over the images instead of the pixels, of which there are more.
    train_products, val_products, targets = train @ train.T, val @ train.T, np.eye(10)[labels] - 0.1
    for ridge in 1, 100, 10_000:
        weights = np.linalg.solve(train_products + ridge * np.eye(len(train)), targets)
        assert ((train_products @ weights).argmax(1) == labels).mean() > 0.25
        assert ((val_products @ weights).argmax(1) == val_labels).mean() < 0.2


@pytest.mark.slow
def test_a_small_network_reaches_five_times_chance(images):
    torch.manual_seed(0)
    (train, labels), (val, val_labels) = [
        (torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(y)) for x, y in images
    ]
    layers = [nn.Conv2d(3, 32, 5, 2, 2, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    for channels in 32, 64:
        layers += [nn.Conv2d(channels, 2 * channels, 3, 2, 1, bias=False), nn.BatchNorm2d(2 * channels), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(10):
        for rows in torch.randperm(len(train)).split(32):
            loss = nn.functional.cross_entropy(network(train[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    network.eval()
    with torch.no_grad():
        top1 = (network(val).argmax(1) == val_labels).float().mean().item()
    assert top1 >= 0.5


@pytest.mark.parametrize("classes", [1, 31])
def test_an_impossible_number_of_classes_is_refused(tmp_path, classes):
    with pytest.raises(UserError, match=f"between 2 and 30 synthetic classes, not {classes}"):
        write_synthetic_archive(tmp_path / "a.zip", classes=classes)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cant_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="a.zip can't be written"):
        write_synthetic_archive(tmp_path / "file" / "a.zip")
