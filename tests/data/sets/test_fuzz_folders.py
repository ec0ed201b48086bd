"""Random folders: splits and classes are found in them, or they are refused with a message."""

import logging
import os
import shutil

import pytest
from hypothesis import strategies as st

from tests.helpers.fuzzing import EXAMPLES, fuzz
from tiny_imagenet.data.sets.folder_splits import find_splits, scan_split
from tiny_imagenet.errors import UserError

FOLDERS = st.sampled_from(
    [
        *("train", "val", "test", "Training", "test_set", "seg_train", "seg_test", "valid", "train", "val"),
        *("cat", "dog", "bird", "images", "cat", "dog", ".hidden", ".packed", "__MACOSX", "@eaDir", "a b", "a\nb"),
        *(os.fsdecode(b"\xff"), "\\xff", "é", "e\u0301", "x" * 255, "\u202eabc", "train\n", "-", "cat.png"),
    ]
)
FILES = st.sampled_from(["a.png", "b.JPG", "c.txt", "d", ".e.png", "Thumbs.db", os.fsdecode(b"f\xfe.png"), "g\n.png"])
TREES = st.recursive(
    st.just({}),
    lambda below: st.dictionaries(FOLDERS, below, max_size=4) | st.dictionaries(FILES, st.none(), max_size=3),
)
LAYOUTS = st.dictionaries(FOLDERS, st.dictionaries(FOLDERS, st.dictionaries(FILES, st.none()), max_size=4), max_size=4)


def write(folder, tree):
    os.mkdir(folder)
    for name, below in tree.items():
        path = os.path.join(folder, name)
        if below is None:
            with open(path, "wb") as file:
                file.write(b"\x89PNG\r\n\x1a\n" if name == "d" else b"")
        else:
            write(path, below)


def images_in(folder):
    """By another route: the files with an image's extension or content in folders that count."""
    found = 0
    for _, inside, files in os.walk(folder):
        inside[:] = [name for name in inside if not name.startswith(".") and name.lower() not in ("__macosx", "@eadir")]
        found += sum(
            name.lower().endswith((".png", ".jpg")) and not name.startswith(".") or name == "d" for name in files
        )
    return found


@pytest.mark.parametrize("examples", EXAMPLES)
def test_folders(tmp_path, examples, caplog):
    caplog.set_level(logging.CRITICAL)
    root = tmp_path / "set"

    def check(tree, named):
        shutil.rmtree(root, ignore_errors=True)
        write(root, tree)
        try:
            splits = find_splits(root, named)
            for split in splits.values():
                assert split.folder.is_relative_to(root)
                assert len(set(split.classes)) == len(split.names)
                assert all(class_id.isprintable() for class_id in split.classes)
            train = splits["train"]
            assert len(train.classes) >= 2
            files = scan_split(train, train.classes, train.classes)
            assert len(files) == sum(images_in(train.folder / name) for name in train.names)
        except UserError as error:
            assert str(error)
            return str(error).replace(str(root), "")[:40]
        return " ".join(splits)

    fuzz(check, examples, TREES | LAYOUTS, st.lists(FOLDERS, max_size=2))
