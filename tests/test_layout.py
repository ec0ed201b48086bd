"""The official layout and class folders: what is found, what is moved, and what is refused."""

import os

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tiny_imagenet.data.layout import Classes, check_counts, read_annotations, read_classes, restructure_validation
from tiny_imagenet.data.scan import class_folders, scan_classes, scan_flat
from tiny_imagenet.errors import UserError

BOX = "\t0\t1\t62\t63\n"


@pytest.fixture
def folder(tmp_path):
    """Two classes with two training and two validation images each; what is in the files does not matter here."""
    for class_id in "n02", "n01":
        images = tmp_path / "train" / class_id / "images"
        images.mkdir(parents=True)
        names = [f"{class_id}_{number}.JPEG" for number in range(2)]
        for name in names:
            (images / name).write_bytes(b"x" * 10)
        (images.parent / f"{class_id}_boxes.txt").write_text("".join(name + BOX for name in names))
    (tmp_path / "wnids.txt").write_text("n02\nn01\n")
    (tmp_path / "words.txt").write_text("n00\tentity\nn01\tgoldfish, Carassius auratus\nn02\t\n")
    (tmp_path / "val" / "images").mkdir(parents=True)
    for number in range(4):
        (tmp_path / "val" / "images" / f"val_{number}.JPEG").write_bytes(b"x")
    lines = [f"val_{number}.JPEG\t{class_id}{BOX}" for number, class_id in enumerate(["n02", "n01", "n01", "n02"])]
    (tmp_path / "val" / "val_annotations.txt").write_text("".join(lines))
    return tmp_path


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


RESTRUCTURED = ["n01/images/val_1.JPEG", "n01/images/val_2.JPEG", "n02/images/val_0.JPEG", "n02/images/val_3.JPEG"]


def test_classes_are_sorted_and_named(folder):
    assert read_classes(folder) == Classes(("n01", "n02"), ("goldfish, Carassius auratus", "n02"))
    (folder / "words.txt").unlink()
    assert read_classes(folder).names == ("n01", "n02")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read: No such file"),
        (b"\n", "is empty"),
        (b"\xff\xfe\n", "not UTF-8"),
        (b"n01\nn02\nn01\n", "lists n01 more than once"),
        (b"n01\n../../etc\n", "'?../../etc'? can't be a class id"),
        (b"..\n", "can't be a class id"),
    ],
)
def test_a_wrong_list_of_classes_is_refused(folder, content, message):
    (folder / "wnids.txt").unlink()
    if content is not None:
        (folder / "wnids.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_classes(folder)


def test_validation_images_move_to_their_classes_once(folder):
    for _ in range(2):
        restructure_validation(folder)
        assert tree(folder / "val") == [*RESTRUCTURED, "val_annotations.txt"]
        assert not (folder / "val" / "images").exists()


@pytest.mark.parametrize("moves", range(5))
def test_a_killed_restructuring_is_continued(folder, monkeypatch, moves):
    replace, calls = os.replace, []

    def killed_after_some(*args):
        if len(calls) == moves:
            raise KeyboardInterrupt
        calls.append(replace(*args))

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed_after_some)
        if moves < 4:
            with pytest.raises(KeyboardInterrupt):
                restructure_validation(folder)
        patched.setattr(os, "replace", replace)
        restructure_validation(folder)
    assert tree(folder / "val") == [*RESTRUCTURED, "val_annotations.txt"]


def test_what_is_no_image_stays_behind(folder):
    (folder / "val" / "images" / "Thumbs.db").write_bytes(b"")
    for _ in range(2):
        restructure_validation(folder)
        assert tree(folder / "val") == ["images/Thumbs.db", *RESTRUCTURED, "val_annotations.txt"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"val_9.JPEG\tn01\t0\t0\t1\t1", "lacks val_9.JPEG"),
        (b"val_0.JPEG\tn02\t0\t0\t1\t1", r"line 5 \(val_0.JPEG\): about a file that has one"),
        (b"val_9.JPEG\tn77\t0\t0\t1\t1", r"line 5 \(n77\): of a class"),
        (b"val_9.JPEG\tn01\t0\t0\t1", "line 5 .*not of the form"),
        (b"val_9.JPEG\tn01\t0\t0\t1\tx", "line 5 .*not of the form"),
        (b"val_\xff.JPEG\tn01\t0\t0\t1\t1", "line 5 .*not of the form"),
        (b"../../val_9.JPEG\tn01\t0\t0\t1\t1", "line 5 .*not of the form"),
        (b"..\tn01\t0\t0\t1\t1", "line 5 .*not of the form"),
        (b"a\\b.JPEG\tn01\t0\t0\t1\t1", "line 5 .*not of the form"),
        (b"\n".join(b"no" for _ in range(9)), r"line 9 .*, … \(9 in all\)"),
    ],
)
def test_a_wrong_annotation_is_named_and_nothing_moved(folder, line, message):
    with (folder / "val" / "val_annotations.txt").open("ab") as file:
        file.write(line + b"\n")
    before = tree(folder)
    with pytest.raises(UserError, match=message):
        restructure_validation(folder)
    assert tree(folder) == before


def test_an_image_without_annotation_is_named_and_nothing_moved(folder):
    (folder / "val" / "images" / "val_9.JPEG").write_bytes(b"x")
    before = tree(folder)
    with pytest.raises(UserError, match=r"val_annotations.txt has no line for val_9.JPEG"):
        restructure_validation(folder)
    (folder / "val" / "val_annotations.txt").unlink()
    with pytest.raises(UserError, match="val_annotations.txt can't be read"):
        restructure_validation(folder)
    assert tree(folder) == [name for name in before if name != "val/val_annotations.txt"]


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200)
    | st.lists(
        st.tuples(st.text(max_size=8), st.sampled_from(["n01", "n02", "n03", ""]), st.text(max_size=8)), max_size=4
    ).map(lambda rows: "\n".join(f"{a}\t{b}\t0\t0\t0\t{c or 0}" for a, b, c in rows).encode("utf-8", "surrogatepass"))
)
@example(b"a\tn01\t0\t0\t0\t0\r\n\r\n")
def test_annotations_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "annotations.txt"
    path.write_bytes(content)
    try:
        class_of = read_annotations(path, ["n01", "n02"])
    except UserError:
        return
    assert set(class_of.values()) <= {"n01", "n02"}
    assert all(os.path.basename(name) == name and name not in ("", ".", "..") for name in class_of)


def test_a_scan_finds_the_images_of_each_class(folder):
    images = folder / "train" / "n01" / "images"
    for name in ".hidden.JPEG", "Thumbs.db", "notes.txt":
        (images / name).write_bytes(b"x")
    (images / "folder.jpeg").mkdir()
    (images.parent / "deeper" / "still").mkdir(parents=True)
    (images.parent / "deeper" / "still" / "a.PNG").write_bytes(b"")
    (images.parent / "0.webp").symlink_to(images / "n01_1.JPEG")
    os.utime(images / "n01_0.JPEG", ns=(5, 7))

    files = scan_classes(folder / "train", ("n01", "n02"))

    expected = ["n01/0.webp", "n01/deeper/still/a.PNG", "n01/images/n01_0.JPEG", "n01/images/n01_1.JPEG"]
    assert files.names == [*expected, "n02/images/n02_0.JPEG", "n02/images/n02_1.JPEG"]
    assert files.labels.tolist() == [0, 0, 0, 0, 1, 1] and files.labels.dtype == np.int64
    assert files.sizes.tolist() == [10, 0, 10, 10, 10, 10]
    assert files.times[2] == 7
    assert len(files) == 6


def test_labels_follow_the_order_of_the_ids(folder):
    files = scan_classes(folder / "train", ("n02", "n01"))
    assert [(name[:3], label) for name, label in zip(files.names, files.labels, strict=True)][::2] == [
        ("n02", 0),
        ("n01", 1),
    ]


@pytest.mark.parametrize("spoil", ["empty", "missing", "strays"])
def test_a_class_without_images_is_named(folder, spoil):
    class_folder = folder / "train" / "n02"
    for path in (class_folder / "images").iterdir():
        path.unlink()
    if spoil == "missing":
        class_folder.rename(folder / "elsewhere")
    if spoil == "strays":
        (class_folder / "images" / "Thumbs.db").write_bytes(b"")
    with pytest.raises(UserError, match=r"train/n02 has no images"):
        scan_classes(folder / "train", ("n01", "n02"))


def test_a_flat_scan_has_no_labels(folder):
    files = scan_flat(folder / "val" / "images")
    assert files.names == [f"val_{number}.JPEG" for number in range(4)]
    assert files.labels.tolist() == [-1] * 4
    with pytest.raises(UserError, match="nowhere has no images"):
        scan_flat(folder / "nowhere")


def test_a_broken_link_is_named(folder):
    (folder / "val" / "images" / "gone.JPEG").symlink_to(folder / "nowhere.JPEG")
    with pytest.raises(UserError, match="gone.JPEG leads nowhere"):
        scan_flat(folder / "val" / "images")


def test_class_folders_are_those_in_sight(folder):
    (folder / "train" / ".cache").mkdir()
    (folder / "train" / "notes.txt").write_bytes(b"")
    assert class_folders(folder / "train") == ("n01", "n02")
    for wrong in folder / "nowhere", folder / "val" / "images":
        with pytest.raises(UserError, match="a folder of images a class"):
            class_folders(wrong)


def test_counts_that_are_kept_pass(folder):
    restructure_validation(folder)
    for split in "train", "val":
        check_counts(scan_classes(folder / split, ("n01", "n02")), split)
    check_counts(scan_flat(folder / "train" / "n01"), "test")


@pytest.mark.parametrize(
    ("split", "lost"), [("train", "train/n02/images/n02_1.JPEG"), ("val", "val/n02/images/val_3.JPEG")]
)
def test_a_lost_image_is_named(folder, split, lost):
    restructure_validation(folder)
    (folder / lost).unlink()
    with pytest.raises(UserError, match=rf"n02 has 1 of 2 \({os.path.basename(lost)} missing\)"):
        check_counts(scan_classes(folder / split, ("n01", "n02")), split)


def test_the_official_archive_must_be_whole(folder):
    restructure_validation(folder)
    with pytest.raises(UserError, match="n01 has 2 of 500, n02 has 2 of 500"):
        check_counts(scan_classes(folder / "train", ("n01", "n02")), "train", official=True)
    with pytest.raises(UserError, match="2 of 10,000 images"):
        check_counts(scan_flat(folder / "train" / "n01"), "test", official=True)
    for number in range(2, 50):
        for class_id in "n01", "n02":
            (folder / "val" / class_id / f"more_{number}.JPEG").write_bytes(b"")
    with pytest.raises(UserError, match="2 of 200 classes"):
        check_counts(scan_classes(folder / "val", ("n01", "n02")), "val", official=True)
