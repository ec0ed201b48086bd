"""The official layout: what is found, what is moved, and what is refused."""

import os
import shutil
import signal

import pytest

from tests.helpers.archives import change_disk, disk, in_process
from tiny_imagenet.data.images.scan import scan_classes, scan_flat
from tiny_imagenet.data.sets.tiny_imagenet_layout import Classes, check_counts, read_classes, restructure_validation
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
        (b"n" * 256 + b"\n", "can't be a class id"),
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


@pytest.mark.parametrize("moves", range(4))
def test_a_killed_restructuring_is_continued(folder, monkeypatch, moves):
    replace, calls = os.replace, []

    def killed_after_some(*args):
        if len(calls) == moves:
            os.kill(os.getpid(), signal.SIGKILL)
        calls.append(replace(*args))

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed_after_some)
        process = in_process(lambda: restructure_validation(folder))
        process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list(folder.glob("val/images/*"))) == 4 - moves
    restructure_validation(folder)
    assert tree(folder / "val") == [*RESTRUCTURED, "val_annotations.txt"]


@pytest.mark.parametrize("options", ["full", "ro"])
def test_a_disk_that_is_full_or_read_only(folder, tmp_path, options):
    with disk(tmp_path / "disk", "size=4m") as small:
        shutil.copytree(folder / "val", small / "val")
        shutil.copy(folder / "wnids.txt", small)
        used = sum(1 for _ in small.rglob("*")) + 1
        change_disk(small, options if options == "ro" else f"nr_inodes={used + 3}")
        before = tree(small)
        advice = "Read-only file system. Make it writable" if options == "ro" else "No space left on device. Free some"
        with pytest.raises(UserError, match=f"val can't be written: {advice}"):
            restructure_validation(small)
        assert tree(small) == before
        change_disk(small, "rw,nr_inodes=99")
        restructure_validation(small)
        assert tree(small / "val") == [*RESTRUCTURED, "val_annotations.txt"]


def test_what_is_no_image_stays_behind(folder):
    (folder / "val" / "images" / "Thumbs.db").write_bytes(b"")
    for _ in range(2):
        restructure_validation(folder)
        assert tree(folder / "val") == ["images/Thumbs.db", *RESTRUCTURED, "val_annotations.txt"]


@pytest.mark.parametrize("name", ["val_0.JPEG", "val_9.JPEG"])
def test_an_image_beside_the_folders_of_the_classes_stays_too(folder, name):
    """Also if it has the name of one that has found its class."""
    (folder / "val" / name).write_bytes(b"x")
    for _ in range(2):
        restructure_validation(folder)
        assert tree(folder / "val") == sorted([*RESTRUCTURED, "val_annotations.txt", name])
    (folder / "val" / "val_annotations.txt").unlink()
    restructure_validation(folder)
    assert tree(folder / "val") == sorted([*RESTRUCTURED, name])


@pytest.mark.parametrize("moves", range(4))
def test_a_killed_restructuring_of_a_flat_copy_is_continued(folder, monkeypatch, moves):
    for path in (folder / "val" / "images").iterdir():
        path.rename(folder / "val" / path.name)
    (folder / "val" / "images").rmdir()
    replace, calls = os.replace, []

    def stopped_after_some(*args):
        if len(calls) == moves:
            raise KeyboardInterrupt
        calls.append(replace(*args))

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "replace", stopped_after_some)
        restructure_validation(folder)
    assert len(list(folder.glob("val/*.JPEG"))) == 4 - moves
    (folder / "val" / "new.JPEG").write_bytes(b"x")
    with pytest.raises(UserError, match="has no line for new.JPEG in .*val. Remove what"):
        restructure_validation(folder)
    (folder / "val" / "new.JPEG").unlink()
    restructure_validation(folder)
    assert tree(folder / "val") == [*RESTRUCTURED, "val_annotations.txt"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"val_9.JPEG\tn01\t0\t0\t1\t1", "lacks val_9.JPEG"),
        (b"val_0.JPEG\tn02\t0\t0\t1\t1", r"line 5 \(val_0.JPEG\) must not repeat a file"),
        (b"val_9.JPEG\tn77\t0\t0\t1\t1", r"line 5 \(n77\) must have a class id from wnids.txt"),
        (b"val_9.JPEG\tn01\t0\t0\t1", "line 5 .*must have a file, a class id and four numbers"),
        (b"val_9.JPEG\tn01\t0\t0\t1\tx", "line 5 .*must have a file, a class id and four numbers"),
        (b"val_\xff.JPEG\tn01\t0\t0\t1\t1", "line 5 .*must have a file, a class id and four numbers"),
        (b"../../val_9.JPEG\tn01\t0\t0\t1\t1", "line 5 .*must have a file, a class id and four numbers"),
        (b"..\tn01\t0\t0\t1\t1", "line 5 .*must have a file, a class id and four numbers"),
        (b"a\\b.JPEG\tn01\t0\t0\t1\t1", "line 5 .*must have a file, a class id and four numbers"),
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


def test_an_image_that_would_replace_another_one_is_named(folder):
    home = folder / "val" / "n01" / "images"
    home.mkdir(parents=True)
    for number in (1, 2):
        (home / f"val_{number}.JPEG").write_bytes(b"x")
    (home / "val_2.JPEG").write_bytes(b"another")
    before = tree(folder)
    with pytest.raises(UserError, match="val/images and .*different images of the same name: val_2.JPEG"):
        restructure_validation(folder)
    assert tree(folder) == before
    (home / "val_2.JPEG").write_bytes(b"x")
    restructure_validation(folder)
    assert tree(folder / "val") == [*RESTRUCTURED, "val_annotations.txt"]


def test_an_image_without_annotation_is_named_and_nothing_moved(folder):
    (folder / "val" / "images" / "val_9.JPEG").write_bytes(b"x")
    before = tree(folder)
    with pytest.raises(UserError, match=r"val_annotations.txt has no line for val_9.JPEG"):
        restructure_validation(folder)
    (folder / "val" / "val_annotations.txt").unlink()
    with pytest.raises(UserError, match="val_annotations.txt can't be read"):
        restructure_validation(folder)
    assert tree(folder) == [name for name in before if name != "val/val_annotations.txt"]


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
