"""Which folders are splits, under the names that people give them; and what of a folder is left out, and told."""

import shutil
from pathlib import Path

import pytest

from tests.helpers.class_folders import COLOURS, write_classes
from tiny_imagenet.data import ImageFolderDataModule
from tiny_imagenet.data.sets.folder_splits import find_splits
from tiny_imagenet.errors import UserError

ALL = ("ant", "bee", "cat")


def folders(root: Path, **options) -> dict[str, str]:
    return {split: str(found.folder.relative_to(root)) for split, found in find_splits(root, **options).items()}


@pytest.fixture
def logged(caplog):
    caplog.set_level("INFO")
    return lambda: [record.getMessage() for record in caplog.records]


def sets(root: Path, **options) -> dict[str, tuple[int, list[int]]]:
    """Of each set, the number of images and the labels that occur."""
    data = ImageFolderDataModule(str(root), image_size=8, batch_size=4, **options)
    for stage in "fit", "test":
        data.setup(stage)
    return {name: (len(images), sorted(set(images.labels.tolist()))) for name, images in data.sets.items()}


@pytest.mark.parametrize(
    "names",
    [
        {"train": "Training", "test": "Testing"}, {"train": "Train", "test": "Test"},
        {"train": "TRAIN", "val": "VALID", "test": "TEST"}, {"train": "train", "val": "valid", "test": "test"},
        {"train": "train", "val": "validation"}, {"train": "training_set", "test": "test_set"},
        {"train": "seg_train", "test": "seg_test"}, {"train": "trainset", "val": "valset"},
        {"train": "asl_alphabet_train", "test": "asl_alphabet_test"}, {"train": "train images", "test": "test images"},
        {"train": "training", "val": "validation", "test": "evaluation"},
    ],
    ids=lambda names: " ".join(names.values()),
)  # fmt: skip
def test_usual_names_of_splits(tmp_path, names, logged):
    for name in names.values():
        write_classes(tmp_path / name, 2)
    assert folders(tmp_path) == names
    assert all(split.classes == ALL for split in find_splits(tmp_path).values())
    said = f"{tmp_path}: {', '.join(f'{split} is {name}/' for split, name in names.items())}."
    assert (said in logged()) == (list(names) != list(names.values()))


def test_ordinary_splits_are_no_news(tmp_path, logged):
    for split in "train", "val", "test":
        write_classes(tmp_path / split, 1)
    assert folders(tmp_path) == {"train": "train", "val": "val", "test": "test"}
    assert logged() == []


@pytest.mark.parametrize(
    ("below", "expected"),
    [
        (["my_data/train", "my_data/val"], {"train": "my_data/train", "val": "my_data/val"}),
        (["a/b/Train", "a/b/Test"], {"train": "a/b/Train", "test": "a/b/Test"}),
        (["seg_train/seg_train", "seg_test/seg_test"], {"train": "seg_train/seg_train", "test": "seg_test/seg_test"}),
        (["train/images", "test"], {"train": "train/images", "test": "test"}),
        (["photos"], {"train": "photos"}),
        (["a/b"], {"train": "a/b"}),
        (["a/b/c"], {"train": "a/b/c"}),
        (["a/b/c/train"], {"train": "a/b/c/train"}),
        (["archive/train"], {"train": "archive/train"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_data_in_a_lone_folder(tmp_path, below, expected, logged):
    """Beside it there may be folders without images, and those of the system."""
    for folder in below:
        write_classes(tmp_path / folder, 1)
    write_classes(tmp_path / "__MACOSX", 1)
    (tmp_path / "annotations").mkdir()
    assert folders(tmp_path) == expected
    assert any(all(folder in line for folder in below) for line in logged()), "it says where they are"
    left_out = "left out 1 without images (annotations), 1 of the system or other programs (__MACOSX)."
    assert f"{tmp_path}: {left_out}" in logged()


def test_folders_deeper_than_that_are_no_data_set(tmp_path):
    write_classes(tmp_path / "a/b/c/d", 1)
    with pytest.raises(UserError, match="a/b/c has only one class folder, d; at least two"):
        find_splits(tmp_path)


def test_what_lies_beside_lone_folders_is_told(tmp_path, logged):
    write_classes(tmp_path / "a/train/b", 1)
    for name in "0.txt", "a/1.txt", "a/train/2.txt", "a/train/b/3.txt":
        (tmp_path / name).touch()
    assert folders(tmp_path) == {"train": "a/train/b"}
    told = [line for line in logged() if "left out" in line]
    assert told == [
        f"{tmp_path / folder}: left out 1 in no class folder ({number}.txt)."
        for number, folder in enumerate(["", "a", "a/train", "a/train/b"])
    ]


def test_a_single_class_in_a_split_is_not_a_lone_folder(tmp_path):
    write_classes(tmp_path / "train", 1)
    write_classes(tmp_path / "val" / "ant", 1, classes={"black": (1, 1, 1), "red": (200, 1, 1)})
    assert find_splits(tmp_path)["val"].classes == ("ant",)


def test_a_class_may_have_a_split_s_name(tmp_path):
    vehicles = {"car": (9, 9, 9), "train": (90, 9, 9), "steam_train": (9, 90, 9)}
    write_classes(tmp_path / "flat", 1, classes=vehicles)
    assert folders(tmp_path / "flat") == {"train": "."}
    for kind in vehicles:
        write_classes(tmp_path / "deep" / kind, 1, classes={f"{kind} {side}": (1, 1, 1) for side in ("left", "right")})
    (splits,) = find_splits(tmp_path / "deep", named=list(vehicles)).values()
    assert splits.classes == ("car", "steam_train", "train")


def test_two_folders_for_one_split_are_no_guess(tmp_path):
    for name in "Training", "train_set", "test":
        write_classes(tmp_path / name, 1)
    with pytest.raises(UserError, match=r"Training, train_set may each be the train split. Rename the right one train"):
        find_splits(tmp_path)
    (tmp_path / "Training").rename(tmp_path / "train")
    assert folders(tmp_path) == {"train": "train", "test": "test"}


def test_a_split_given_as_root_is_told_of_the_others(tmp_path, logged):
    for name in "Train", "Valid":
        write_classes(tmp_path / name, 1)
    assert folders(tmp_path / "Train") == {"train": "."}
    (line,) = logged()
    assert line.endswith(f"Valid beside it will not be used. To use all, set --data.root {tmp_path}.")


def test_folders_with_the_same_sub_folders_are_not_taken_for_classes(tmp_path):
    for name, per_class in ("day one", 2), ("day two", 3):
        write_classes(tmp_path / name, per_class)
    shutil.rmtree(tmp_path / "day one" / "cat")
    with pytest.raises(UserError, match="the sub-folders ant, bee: they look like splits") as error:
        find_splits(tmp_path)
    assert f"--data.root '{tmp_path}/day two'" in str(error.value)
    assert "--data.classes '[day one,day two]'" in str(error.value)
    assert find_splits(tmp_path, named=["day one", "day two"])["train"].classes == ("day one", "day two")


def test_splits_within_the_classes_are_named(tmp_path):
    for name in ALL:
        write_classes(tmp_path / name, 1, classes={"test": (1, 1, 1), "train": (2, 2, 2)})
    with pytest.raises(UserError, match="each class folder has the splits test, train inside.* as in .*/test/ant"):
        find_splits(tmp_path)


def test_sub_folders_of_classes_may_have_the_same_name(tmp_path):
    """One each, as in Tiny ImageNet's train/<class>/images; or several, beside images or beside other names."""
    for name in ALL:
        write_classes(tmp_path / "one" / name, 1, classes={"images": (1, 1, 1)})
        write_classes(tmp_path / "others" / name, 1, classes=dict.fromkeys(["a", *f"{name[0]}xyz"], (1, 1, 1)))
        write_classes(tmp_path / "beside" / name, 1, classes={"a": (1, 1, 1), "b": (1, 1, 1)})
        shutil.copy(tmp_path / "beside" / name / "a" / "0.png", tmp_path / "beside" / name)
    for name in ALL:
        shutil.rmtree(tmp_path / "others" / name / "x")
        (tmp_path / "others" / name / "y").rename(tmp_path / "others" / name / f"{name} y")
        (tmp_path / "others" / name / "z").rename(tmp_path / "others" / name / f"{name} z")
    for kind in "one", "others", "beside":
        assert find_splits(tmp_path / kind)["train"].classes == ALL


def test_what_is_left_out_is_told_once_for_each_folder(tmp_path, logged):
    for split in "train", "val":
        write_classes(tmp_path / split, 10)
    for name in "train/lost+found", "train/@eaDir", "train/.ipynb_checkpoints", "train/eel", "train/.packed":
        (tmp_path / name).mkdir()
    write_classes(tmp_path / "other", 1)
    for name in "train/._ant", "train/.DS_Store", "val/Thumbs.db", "train/eel/notes.txt", "labels.csv", "train/new.jpg":
        (tmp_path / name).write_bytes(b"")
    assert sets(tmp_path) == {"train": (30, [0, 1, 2]), "val": (30, [0, 1, 2]), "test": (30, [0, 1, 2])}
    assert logged()[:4] == [
        f"{tmp_path}: ignored other; the splits are called train, val, test.",
        f"{tmp_path}: left out 1 in no class folder (labels.csv).",
        f"{tmp_path}/train: left out 1 without images (eel), 5 of the system or other programs (.DS_Store, ._ant, "
        ".ipynb_checkpoints, @eaDir, lost+found), 1 in no class folder (new.jpg).",
        f"{tmp_path}/val: left out 1 of the system or other programs (Thumbs.db).",
    ]
    assert len([line for line in logged() if "left out" in line or "ignored" in line]) == 4


def test_a_link_in_a_circle_is_no_folder(tmp_path, logged):
    write_classes(tmp_path, 1)
    (tmp_path / "round").symlink_to("round")
    assert find_splits(tmp_path)["train"].classes == ALL
    assert logged() == [f"{tmp_path}: left out 1 in no class folder (round)."]


def test_a_split_may_lack_a_class_and_have_another(tmp_path, logged):
    """The labels of ant, bee and cat are 0, 1 and 2 in every split."""
    write_classes(tmp_path / "train", 10)
    write_classes(tmp_path / "val", 2, classes={"ant": COLOURS["ant"], "cat": COLOURS["cat"]})
    write_classes(tmp_path / "test", 3, classes=COLOURS | {"dog": (9, 9, 9), "eel": (9, 9, 9)})
    (tmp_path / "val" / "bee").mkdir()
    assert sets(tmp_path) == {"train": (30, [0, 1, 2]), "val": (4, [0, 2]), "test": (9, [0, 1, 2])}
    assert f"{tmp_path}/val: no images of bee; accuracy is of the other 2 classes." in logged()
    assert (
        f"{tmp_path}/test: left out the images of classes that the training split lacks: dog (3), eel (3)." in logged()
    )
    assert len(logged()) == 4, "with the empty folder, and what validation uses"


def test_chosen_classes_of_a_split_that_lacks_one(tmp_path):
    write_classes(tmp_path / "train", 10)
    write_classes(tmp_path / "val", 2, classes={"ant": COLOURS["ant"], "cat": COLOURS["cat"]})
    assert sets(tmp_path, classes=["bee", "cat"])["val"] == (2, [1])
    with pytest.raises(UserError, match="val has no images of any training class: it has cat, but .* are ant, bee"):
        shutil.rmtree(tmp_path / "val" / "ant")
        sets(tmp_path, classes=["ant", "bee"])


def test_an_empty_class_is_no_class(tmp_path, logged):
    write_classes(tmp_path, 10)
    (tmp_path / "dog").mkdir()
    assert find_splits(tmp_path)["train"].classes == ALL
    assert logged() == [f"{tmp_path}: left out 1 without images (dog)."]
