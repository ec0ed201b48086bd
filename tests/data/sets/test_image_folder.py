"""ImageFolderDataModule: which folders make which split, images of any size and kind, and bad folders."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from tests.helpers.class_folders import COLOURS, write_classes
from tiny_imagenet.data import ImageFolderDataModule
from tiny_imagenet.data.sets.folder_splits import cache_folder
from tiny_imagenet.errors import UserError
from tiny_imagenet.report.__main__ import main as report


def module(root, **options) -> ImageFolderDataModule:
    return ImageFolderDataModule(**({"root": str(root), "image_size": 8, "batch_size": 4} | options))


def sizes(data) -> tuple[int, int, int]:
    data.setup("fit")
    data.setup("test")
    return len(data.sets["train"]), len(data.sets["val"]), len(data.sets["test"])


def folders_of(images) -> set[str]:
    return {images.files.folder.name}


def test_a_single_folder_of_classes_is_divided(tmp_path):
    data = module(write_classes(tmp_path / "set"))
    assert sizes(data) == (27, 3, 3)
    assert data.classes.ids == data.classes.names == ("ant", "bee", "cat")
    assert data.sets["test"].names == data.sets["val"].names
    assert not set(data.sets["train"].names) & set(data.sets["val"].names)
    assert sizes(module(tmp_path / "set", holdout=15)) == (15, 15, 15)


@pytest.mark.parametrize(
    ("splits", "holdout", "expected", "val", "test"),
    [
        ({"train": 10, "val": 4, "test": 2}, None, (30, 12, 6), "val", "test"),
        ({"train": 10, "val": 4, "test": 2}, 0.2, (24, 6, 6), "train", "test"),
        ({"train": 10, "val": 4}, None, (30, 12, 12), "val", "val"),
        ({"train": 10, "val": 4}, 6, (24, 6, 12), "train", "val"),
        ({"train": 10, "test": 2}, None, (27, 3, 6), "train", "test"),
        ({"train": 10, "test": 2}, 0, (30, 6, 6), "test", "test"),
        ({"train": 10}, None, (27, 3, 3), "train", "train"),
    ],
    ids=str,
)
def test_splits(tmp_path, splits, holdout, expected, val, test):
    for split, per_class in splits.items():
        write_classes(tmp_path / split, per_class)
    data = module(tmp_path, holdout=holdout)
    assert sizes(data) == expected
    assert folders_of(data.sets["val"]) == {val} and folders_of(data.sets["test"]) == {test}


def test_a_class_may_be_called_train(tmp_path):
    data = module(write_classes(tmp_path, classes={"car": (9, 9, 9), "train": (90, 9, 9), "tram": (9, 90, 9)}))
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    data.setup("fit")
    assert data.classes.ids == ("car", "train", "tram")


def test_images_of_any_size_and_kind_are_cropped_and_resized_once(tmp_path):
    """Against Pillow's own crop of the central square and reduction, image by image."""
    rng = np.random.default_rng(0)
    pictures = {
        "ant/wide.jpeg": Image.fromarray(rng.integers(0, 256, (30, 50, 3), np.uint8)),
        "ant/grey.png": Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)),
        "bee/palette.gif": Image.fromarray(rng.integers(0, 256, (12, 12), np.uint8)).convert("P"),
        "bee/cmyk.jpg": Image.fromarray(rng.integers(0, 256, (9, 40, 4), np.uint8), "CMYK"),
        "cat/deep/below/small.bmp": Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)),
        "cat/one.webp": Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)),
    }
    for name, picture in pictures.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / name)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    data = module(tmp_path, holdout=1, image_size=8)
    images = data.packed("train")
    assert sorted(images.names) == sorted(pictures)
    for name, packed in zip(images.names, images.images, strict=True):
        expected = ImageOps.fit(Image.open(tmp_path / name).convert("RGB"), (8, 8), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(packed, expected, err_msg=name)


def test_each_size_is_packed_once_beside_the_others(tmp_path):
    write_classes(tmp_path / "set")
    module(tmp_path / "set", image_size=8).packed("train")
    before = os.stat(tmp_path / "set/.packed/train-8/pixels.npy")
    assert module(tmp_path / "set", image_size=8, resize=12).packed("train").images.shape == (30, 12, 12, 3)
    module(tmp_path / "set", image_size=8).packed("train")
    assert os.stat(tmp_path / "set/.packed/train-8/pixels.npy").st_ino == before.st_ino
    assert data_classes(tmp_path / "set") == ("ant", "bee", "cat"), "the cache is not taken for a class"


def data_classes(root) -> tuple[str, ...]:
    return module(root).all_classes().ids


def test_a_folder_that_cannot_be_written_is_packed_in_the_user_s_cache(tmp_path, monkeypatch, caplog):
    root = write_classes(tmp_path / os.fsdecode(b"set\xff"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(str(root)))
    data = module(root)
    with caplog.at_level("INFO"):
        assert len(data.packed("train")) == 30
    assert caplog.text.count("can't be written: its packed images are kept in") == 1
    assert not (root / ".packed").exists() and data.packed("train").cache.is_relative_to(tmp_path / "cache")
    assert cache_folder(root, "a") != cache_folder(tmp_path / "other" / root.name, "a"), "not by name alone"


def test_what_is_packed_in_a_folder_that_cannot_be_written_is_used(tmp_path, monkeypatch):
    root = write_classes(tmp_path / "set")
    inside = module(root).packed("train").cache
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert module(root).packed("train").cache == inside


def test_folders_without_class_folders_are_no_splits(tmp_path, caplog):
    for split in ("train", "val"):
        write_classes(tmp_path / split)
    (tmp_path / "test").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "test" / "new.png")
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    with caplog.at_level("INFO"):
        assert sizes(module(tmp_path)) == (30, 30, 30)
    assert "no class folders in test: only `predict --data.images` can read it" in caplog.text


@pytest.mark.parametrize(
    ("splits", "holdout", "expected"),
    [
        (["train", "val", "test"], None, False), (["train", "val"], None, True), (["train", "test"], None, False),
        (["train", "test"], 0, True), (["train"], None, True),
    ],
)  # fmt: skip
def test_it_says_whether_it_validates_on_the_test_images(tmp_path, splits, holdout, expected):
    for split in splits:
        write_classes(tmp_path / split)
    data = module(tmp_path, holdout=holdout)
    sizes(data)
    assert data.validates_on_test == expected
    val, test = (
        [images.files.folder / name for name in images.names] for images in map(data.sets.get, ("val", "test"))
    )
    assert (val == test) == expected


def test_an_archive_of_class_folders(tmp_path):
    write_classes(tmp_path / "set" / "train")
    write_classes(tmp_path / "set" / "test", 2)
    archive = shutil.make_archive(str(tmp_path / "pets"), "gztar", tmp_path, "set")
    data = module(tmp_path / "data", archive=archive)
    assert sizes(data) == (27, 3, 6)
    assert data.sets["train"].files.folder == tmp_path / "data/pets/train"


def test_predict_takes_the_test_images_or_any_others_without_the_training_images(tmp_path):
    write_classes(tmp_path / "set" / "train")
    write_classes(tmp_path / "set" / "test", 2)
    data = module(tmp_path / "set")
    data.setup("predict")
    assert len(data.sets["predict"]) == 6 and folders_of(data.sets["predict"]) == {"test"}
    assert data.sets["predict"].labels.tolist() == list(range(6))
    elsewhere = module(tmp_path / "nowhere", images=str(tmp_path / "set" / "test" / "ant"))
    elsewhere.setup("predict")
    assert elsewhere.sets["predict"].names == ["0.png", "1.png"]


def broken(kind, root):
    if kind == "missing":
        return root / "nowhere"
    if kind == "one class":
        return write_classes(root, classes={"ant": (1, 2, 3)})
    if kind == "no class folders":
        Image.new("RGB", (8, 8)).save(root / "image.png")
    if kind == "other classes in val":
        write_classes(root / "train")
        write_classes(root / "val", classes={"dog": (9, 9, 9), "eel": (9, 90, 9)})
    if kind == "Tiny ImageNet's layout":
        write_classes(root / "train")
        write_classes(root / "val", classes={"images": (9, 9, 9)})
    if kind == "unreadable image":
        (write_classes(root) / "bee" / "5.png").write_bytes(b"not a picture")
    return root


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "nowhere can't be read: No such file or directory. It should have one folder of images per class"),
        ("one class", "has only one class folder, ant"),
        ("no class folders", "has no folders of images. It should"),
        ("other classes in val", "val has no images of any training class: it has dog, eel, but .* are ant, bee, cat"),
        ("Tiny ImageNet's layout", "it has images, .* use --data TinyImageNetDataModule"),
        ("unreadable image", "5.png can't be decoded"),
    ],
)
def test_bad_folders(tmp_path, kind, message):
    with pytest.raises(UserError, match=message):
        sizes(module(broken(kind, tmp_path)))
    assert all(path.parent.name == ".packed" for path in tmp_path.rglob(".*.partial-*")), "what is packed is kept"


def test_holdout_0_without_anything_to_validate_on(tmp_path):
    with pytest.raises(UserError, match="neither val/ nor test/"):
        sizes(module(write_classes(tmp_path), holdout=0))


def test_fit_test_and_predict_from_the_command_line(run, tmp_path):
    """Three colours are learnt in a few steps; the same commands as for any data set."""
    write_classes(tmp_path / "set" / "train", 40)
    write_classes(tmp_path / "set" / "test", 4)
    options = ["--data=ImageFolderDataModule", "--data.root=set", "--data.image_size=16", "--data.batch_size=12"]
    model = ["--model.width=0.125", "--model.stem=half", "--model.optimizer.lr=0.02", "--trainer.max_epochs=6"]
    model.append("--trainer.precision=32-true")  # on every CPU
    status, said = run("fit", "--config=resnet18_baseline.yaml", "--trainer.accelerator=cpu", *options, *model)
    assert status == 0, said
    checkpoint = tmp_path / "runs/resnet18_baseline/version_0/checkpoints/last.ckpt"
    assert run("test", f"--ckpt_path={checkpoint}")[0] == 0
    rows = (checkpoint.parents[1] / "per_class.csv").read_text().splitlines()
    assert [row.split(",")[:4] for row in rows[1:]] == [[name, name, "4", "4"] for name in COLOURS]
    status, said = run("predict", f"--ckpt_path={checkpoint}")
    assert status == 0 and "12 predictions" in said
    first = (checkpoint.parents[1] / "predictions.csv").read_text().splitlines()[1].split(",")
    assert first[:2] == ["ant/0.png", "ant"]


def test_class_folders_of_any_name_from_the_command_line(run, tmp_path):
    """Their names are legible in all that is written and said, and files are UTF-8."""
    folders = [b"$x^{2$", b"<script>alert(1)<", b"a, b", b"a, c", b"caf\xe9", b"two\nlines", "😀 猫".encode()]
    folders += [b"cost $\\x$"]
    shown = ["$x^{2$", "<script>alert(1)<", "a, b", "a, c", r"caf\xe9", r"two\nlines", "😀 猫", r"cost $\x$"]
    for number, name in enumerate(folders):
        write_classes(tmp_path / "set", 20, {os.fsdecode(name): (30 * number, 250 - 30 * number, 90)})
    options = ["--config=photos.yaml", "--data.root=set", "--data.image_size=16", "--data.batch_size=14"]
    options += ["--data.holdout=14", "--model.width=0.125", "--trainer.max_epochs=1", "--trainer.accelerator=cpu"]
    status, said = run("fit", *options, "--trainer.precision=32-true")
    assert status == 0, said
    checkpoint = f"--ckpt_path={tmp_path / 'runs/photos/version_0/checkpoints/last.ckpt'}"
    assert run("test", checkpoint)[0] == 0
    (tmp_path / "new").mkdir()
    shutil.copy(tmp_path / "set" / os.fsdecode(folders[4]) / "0.png", tmp_path / "new" / os.fsdecode(b"\xe9.png"))
    status, said = run("predict", checkpoint, "--data.images=new")
    assert status == 0 and r"\xe9.png: " in said and sum(f"{name} " in said for name in shown) == 3
    for name in "per_class.csv", "confusion.csv":
        table = pd.read_csv(tmp_path / "runs/photos/version_0" / name, encoding="utf-8")
        assert set(table.iloc[:, 1]) == set(shown)
    report(["runs", "--out", "report"])
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    classes = pd.read_csv(next((tmp_path / "report" / "tables").glob("classes_*.csv")), encoding="utf-8")
    assert set(classes["name"]) == set(shown)


def test_a_folder_of_the_command_line_that_is_not_utf_8(run, tmp_path):
    write_classes(tmp_path / os.fsdecode(b"caf\xe9"))
    status, said = run("fit", "--config=photos.yaml", "--data.root=" + os.fsdecode(b"caf\xe9"))
    assert status == 1 and r"error: --data.root=caf\xe9 is not UTF-8" in said


def test_two_folders_that_would_be_one_class_are_named(tmp_path):
    write_classes(tmp_path, 2, dict.fromkeys([os.fsdecode(b"caf\xe9"), r"caf\xe9", "tea"], (1, 1, 1)))
    with pytest.raises(UserError, match=r"several folders that would be the class caf\\xe9. Rename one"):
        module(tmp_path).all_classes()


def test_class_folders_with_numbers_for_names_can_be_chosen(tmp_path):
    """YAML reads 2019 as an integer."""
    for year in ("2019", "2020", "2021"):
        for place in ("day", "night"):
            (tmp_path / year / place).mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / year / place / f"{number}.png")
    with pytest.raises(UserError, match="--data.classes"):
        module(tmp_path).setup("fit")
    data = module(tmp_path, classes=[2019, 2020, 2021])
    assert data.classes.ids == ("2019", "2020", "2021")
