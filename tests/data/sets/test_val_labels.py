"""Labels of validation images in CSV files of copies."""

import pytest

from tiny_imagenet.data.sets.val_labels import labels_file, read_labels
from tiny_imagenet.errors import UserError

EXPECTED = {"val_0.JPEG": "n02", "val_1.JPEG": "n01"}


@pytest.mark.parametrize(
    "content",
    [
        "file,label\nval_0.JPEG,n02\nval_1.JPEG,n01\n",
        "\ufeffFilename,Class\r\nval_0.JPEG,n02\r\n\r\nval_1.JPEG,n01\r\n",
        "label;x;path\nn02;1;val/images/val_0.JPEG\nn01;2;val\\images\\val_1.JPEG",
        "file\tlabel\nval_0.JPEG\tn02\nval_1.JPEG\tn01\n",
        'file,label,box\n"val_0.JPEG","n02","0, 0, 63, 63"\n"val_1.JPEG","n01",\n',
        "val_0.JPEG,n02\nval_1.JPEG,n01\n",
        "file, label\nval_0.JPEG, n02\nval_1.JPEG, n01\n",
    ],
)
def test_files_and_classes_of_a_table(tmp_path, content):
    (tmp_path / "val.csv").write_bytes(content.encode())
    assert read_labels(tmp_path / "val.csv", ["n01", "n02"]) == EXPECTED


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "should have a column of files .* but has nothing"),
        (b"a,b\nval_0.JPEG,n02\n", "but has a, b. Rename its columns"),
        (b"file,label,class\nval_0.JPEG,n02,1\n", "but has file, label, class. Rename"),
        (b"file,label\nval_0.JPEG,17\n", r"line 2 \(17\) must have a class id from wnids.txt"),
        (b"file,label\nval_0.JPEG\n", "line 2 .*must have a file and a class id"),
        (b"file,label\nval/..,n01\n", "line 2 .*must have a file and a class id"),
        (b"file,label\na/0.JPEG,n01\nb/0.JPEG,n01\n", r"line 3 \(0.JPEG\) must not repeat a file"),
        (b"file,label\n\xff.JPEG,n01\n", "is no CSV file in UTF-8"),
        (b'file,label\n"0.JPEG,n01\n', "is no CSV file in UTF-8: unexpected end of data"),
    ],
)
def test_a_wrong_table_is_named(tmp_path, content, message):
    (tmp_path / "val.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_labels(tmp_path / "val.csv", ["n01", "n02"])


def test_which_file_has_the_labels(tmp_path):
    (tmp_path / "val").mkdir()
    annotations = tmp_path / "val" / "val_annotations.txt"
    assert labels_file(tmp_path) == annotations, "the official one, if there is none"
    (tmp_path / "train.csv").touch()
    (tmp_path / "val_labels.csv").touch()
    assert labels_file(tmp_path) == tmp_path / "val_labels.csv"
    (tmp_path / "val" / "labels.csv").touch()
    with pytest.raises(UserError, match="labels.csv, .*val_labels.csv may each have the labels of .*val. Keep only"):
        labels_file(tmp_path)
    annotations.touch()
    assert labels_file(tmp_path) == annotations


def test_a_table_of_something_else_beside_class_folders_is_ignored(tmp_path):
    (tmp_path / "val" / "n01443537").mkdir(parents=True)
    (tmp_path / "val_results.csv").write_text("epoch,loss,accuracy\n1,2.0,0.5\n")
    assert labels_file(tmp_path).name == "val_annotations.txt"
    (tmp_path / "val" / "labels.csv").write_text("file,label,x\na.JPEG,n01443537,3\n")
    assert labels_file(tmp_path) == tmp_path / "val" / "labels.csv"
    (tmp_path / "val" / "a.JPEG").touch()  # now the labels are needed, and either may have them
    with pytest.raises(UserError, match="may each have the labels"):
        labels_file(tmp_path)
