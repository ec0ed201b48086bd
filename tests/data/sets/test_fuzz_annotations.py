"""Random annotations: what comes of them is right, or refused with a message."""

import os
import re
import shutil
from contextlib import suppress

import pytest
from hypothesis import strategies as st

from tests.helpers.fuzzing import DAMAGE, EXAMPLES, damaged, fuzz, kind_of
from tiny_imagenet.data.sets.tiny_imagenet_layout import read_classes, restructure_validation
from tiny_imagenet.errors import UserError

CLASS_IDS = st.sampled_from(["n01", "n02", "n03"])
ODD_IDS = st.text(max_size=5) | st.sampled_from(
    ["images", "val_annotations.txt", "..", "a/b", "n" * 300, "ä" * 60, "0.JPEG"]
)
NAMES = [f"{number}.JPEG" for number in range(5)]
ODD_NAMES = st.sampled_from(["../0.JPEG", "Thumbs.db", ".0.JPEG", "n" * 300 + ".JPEG", "n01"]) | st.text(max_size=5)


def usually(strategy, odd):
    return st.integers(0, 19).flatmap(lambda number: odd if number == 0 else strategy)


ODD_BOXES = st.sampled_from(["0\t0\t63", "0\t-1\t0\t9", "0 0 1 1", "٣\t0\t1\t1", "a\t0\t1\t1"])
BOX = usually(st.just("0\t0\t63\t63"), ODD_BOXES)
END = usually(st.just("\n"), st.sampled_from(["\r\n", "\r", "", "\n\n"]))


@st.composite
def layouts(draw):
    """wnids.txt, val_annotations.txt, the files in val/images, and those that an earlier start moved already."""
    ids = draw(usually(st.just(["n02", "n01", "n03"]), st.lists(CLASS_IDS | ODD_IDS, min_size=1, max_size=5)))
    lines = [(name, draw(usually(st.sampled_from(ids), CLASS_IDS | ODD_IDS))) for name in NAMES]
    lines += draw(usually(st.just([]), st.lists(st.tuples(st.sampled_from(NAMES) | ODD_NAMES, CLASS_IDS), max_size=2)))
    text = "".join(f"{name}\t{class_id}\t{draw(BOX)}{draw(END)}" for name, class_id in lines)
    wnids = damaged("\n".join(ids).encode(), draw(usually(st.just([]), DAMAGE)))
    annotations = damaged(text.encode(), draw(usually(st.just([]), DAMAGE)))
    gone, odd = draw(usually(st.just(set()), st.sets(st.sampled_from(NAMES)))), draw(usually(st.just(""), ODD_NAMES))
    files = [f"images/{name}" for name in NAMES if name not in gone] + [f"images/{odd}"] * bool(odd)
    moved = draw(st.just({}) | st.dictionaries(st.sampled_from(NAMES), CLASS_IDS, max_size=2))
    files += [f"{class_id}/images/{name}" for name, class_id in moved.items()]
    return wnids, annotations, {name: draw(st.sampled_from("ab")) + os.path.basename(name) for name in files}


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines_of(annotations):
    """Name and class id of each line, by hand."""
    lines = annotations.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return [line.decode().split("\t")[:2] for line in lines if line.strip()]


@pytest.mark.parametrize("examples", EXAMPLES)
def test_annotations(tmp_path, examples):
    folder = tmp_path / "set"

    def check(layout):
        wnids, annotations, files = layout
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "val" / "images").mkdir(parents=True)
        (folder / "wnids.txt").write_bytes(wnids)
        (folder / "val" / "val_annotations.txt").write_bytes(annotations)
        for name, content in files.items():
            (folder / "val" / name).parent.mkdir(parents=True, exist_ok=True)
            with suppress(OSError, ValueError):  # a name that no file can have
                (folder / "val" / name).write_text(content)
        before = tree(tmp_path)
        try:
            classes = read_classes(folder)
            restructure_validation(folder)
        except UserError as error:
            assert str(folder) in str(error)
            assert tree(tmp_path) == before
            return kind_of(error)
        after = tree(folder)
        assert list(classes.ids) == sorted(set(wnids.decode().split())) == sorted(wnids.decode().split())
        assert set(before.values()) == set(after.values()), "nothing is lost"
        for name, class_id in lines_of(annotations):
            assert f"val/{class_id}/images/{name}" in after
        left = [name for name in after if name.startswith("val/images/") and name.endswith(".JPEG")]
        assert all(re.match(r"val/images/(images/|\.)", name) for name in left), "all have found their class"
        restructure_validation(folder)
        assert tree(folder) == after, "once is as good as twice"
        return "restructured"

    fuzz(check, examples, layouts())
