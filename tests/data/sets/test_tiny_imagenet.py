"""Images in the official layout, of another size than the official ones."""

import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from tiny_imagenet.data import TinyImageNetDataModule
from tiny_imagenet.data.sets.tiny_imagenet_layout import Classes, read_classes
from tiny_imagenet.errors import UserError


@pytest.mark.parametrize(("image_size", "packed"), [(32, 64), (64, 64), (80, 80), (128, 128)])
def test_larger_images_in_the_official_layout_keep_what_the_network_sees_of_them(tmp_path, image_size, packed):
    lines = []
    for number, class_id in enumerate(("n01", "n02")):
        for folder, name in ((f"train/{class_id}/images", "train"), ("val/images", f"val_{number}")):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (120, 96), (200 * number, 0, 0)).save(tmp_path / folder / f"{name}.JPEG")
        lines.append(f"val_{number}.JPEG\t{class_id}\t0\t0\t9\t9\n")
    (tmp_path / "wnids.txt").write_text("n01\nn02\n")
    (tmp_path / "val" / "val_annotations.txt").write_text("".join(lines))
    data = TinyImageNetDataModule(str(tmp_path), None, None, image_size=image_size, holdout=0, batch_size=2)
    data.setup("fit")
    for images in data.sets.values():
        assert images[np.arange(2)][0].shape == (2, 3, packed, packed)


def test_only_the_chosen_classes_are_packed_unless_all_are_there(archive, tmp_path):
    def make(**options):
        return TinyImageNetDataModule(str(tmp_path), str(archive), None, batch_size=8, **options)

    everything, some = make(), make(classes=2)
    some.setup("fit")
    some.setup("test")
    assert len(some.sets["test"]) == 24
    folder = tmp_path / "small" / "packed"
    (name,) = [path.name for path in folder.iterdir() if path.name.startswith("train")]
    assert name.startswith("train-2-classes-") and len(np.load(folder / name / "pixels.npy", mmap_mode="r")) == 64
    first = {split: (images.names, images[np.arange(len(images))][0]) for split, images in some.sets.items()}
    everything.setup("fit")
    again = make(classes=2)
    again.setup("fit")
    again.setup("test")
    assert again.sets["train"].cache == folder / "train", "all are packed now"
    for split, (names, pixels) in first.items():
        assert again.sets[split].names == names and pixels.equal(again.sets[split][np.arange(len(names))][0])
        assert again.sets[split].labels.tolist() == some.sets[split].labels.tolist()
    assert again.info == some.info


@pytest.fixture
def unzipped(archive, tmp_path):
    """The small archive's files: in the official layout, 4 classes, 32 training and 12 validation images each."""
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "plain")
    (folder,) = (tmp_path / "plain").iterdir()
    return folder


def sets_of(root, archive=None):
    """The images of each set by name, and their classes."""
    data = TinyImageNetDataModule(str(root), archive and str(archive), None, image_size=64, batch_size=8)
    for stage in "fit", "test":
        data.setup(stage)
    found = {}
    for split, images in data.sets.items():
        pixels = images[np.arange(len(images))][0].numpy()
        found |= {(split, name): each.tobytes() for name, each in zip(images.names, pixels, strict=True)}
    return data.classes, found


def test_a_folder_in_a_folder_is_found(unzipped, module, tmp_path, caplog):
    caplog.set_level("INFO")
    plain = module(image_size=64)
    expected = sets_of(plain.root, plain.archive)
    twice = shutil.copytree(unzipped, tmp_path / "again" / "tiny-imagenet-200" / "tiny-imagenet-200")
    (tmp_path / "again" / "__MACOSX").mkdir()
    (tmp_path / "again" / "notes").mkdir()
    archive = shutil.make_archive(str(tmp_path / "double"), "zip", tmp_path / "again", "tiny-imagenet-200")
    assert sets_of(tmp_path / "data", archive) == expected
    assert f"double: the data set is in {tmp_path}/data/double/tiny-imagenet-200." in caplog.text
    shutil.rmtree(tmp_path / "again" / "notes")
    assert sets_of(tmp_path / "again") == expected
    shutil.move(twice, tmp_path / "again" / "beside")
    assert sets_of(tmp_path / "again") == expected


def test_lists_with_a_byte_order_mark_and_windows_line_ends(unzipped, module):
    plain = module(image_size=64)
    for name in "wnids.txt", "words.txt", "val/val_annotations.txt":
        text = (unzipped / name).read_text()
        (unzipped / name).write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    assert sets_of(unzipped) == sets_of(plain.root, plain.archive)


def same_images(found, expected):
    """The same classes, and the same images in each set and class, wherever the files are."""
    by_class = [
        {(split, name.partition("/")[0], name.rpartition("/")[2]): pixels for (split, name), pixels in images.items()}
        for _, images in (found, expected)
    ]
    return found[0] == expected[0] and by_class[0] == by_class[1]


def table_of(folder, path, header="file,label\n"):
    """The annotations as a CSV file."""
    lines = (folder / "val" / "val_annotations.txt").read_text().splitlines()
    path.write_text(header + "".join(",".join(line.split("\t")[:2]) + "\n" for line in lines))
    (folder / "val" / "val_annotations.txt").unlink()


@pytest.mark.parametrize("kind", ["class folders", "class folders, without images/", "flat", "flat, with images/"])
def test_copies_have_the_same_classes_and_images(unzipped, module, kind):
    plain = module(image_size=64)
    expected = sets_of(plain.root, plain.archive)
    val = unzipped / "val"
    if kind.startswith("class folders"):
        for line in (val / "val_annotations.txt").read_text().splitlines():
            name, class_id = line.split("\t")[:2]
            home = val / class_id if "without" in kind else val / class_id / "images"
            home.mkdir(parents=True, exist_ok=True)
            (val / "images" / name).rename(home / name)
        (val / "val_annotations.txt").unlink()
    elif kind == "flat":
        for path in (val / "images").iterdir():
            path.rename(val / path.name)
        (val / "images").rmdir()
        table_of(unzipped, val / "labels.csv")
    else:
        table_of(unzipped, unzipped / "val.csv")
    for _ in range(2):  # the second time, all is in its place
        assert same_images(sets_of(unzipped), expected)


def test_a_lost_image_of_a_table_is_named(unzipped):
    table_of(unzipped, unzipped / "val" / "labels.csv")
    sets_of(unzipped)
    lost = min(unzipped.glob("val/*/images/*"))
    lost.unlink()
    with pytest.raises(UserError, match=rf"{lost.parents[1].name} has 11 of 12 \({lost.name} missing\)"):
        sets_of(unzipped)


def test_classes_without_a_list_are_the_folders_named_as_the_official_ones(tmp_path):
    for class_id in "n02124075", "n01443537":
        (tmp_path / "train" / class_id).mkdir(parents=True)
    (tmp_path / "words.txt").write_text("n01443537\tgoldfish\n")
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    assert read_classes(tmp_path) == Classes(("n01443537", "n02124075"), ("goldfish", "n02124075"))
    (tmp_path / "train" / "cat").mkdir()
    with pytest.raises(UserError, match="wnids.txt can't be read: No such file"):
        read_classes(tmp_path)
