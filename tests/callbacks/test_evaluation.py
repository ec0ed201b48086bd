"""The files that a test writes to the run's folder."""

import json
import os

import torch

from tests.helpers.tables import table


def test_a_test_of_some_images_says_so(run, trained):
    test = ["test", f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}", "--data.batch_size=16"]
    status, output = run(*test, "--trainer.limit_test_batches=2")
    assert status == 0 and "Only 32 of the 48 test images were tested" in output
    assert json.loads((trained / "test_metrics.json").read_text())["images"] == 32


def test_the_first_class_of_equal_logits_is_the_answer_in_every_file(run, trained):
    best = trained / "checkpoints" / "best.ckpt"
    saved = torch.load(best, weights_only=True)
    for name in ("weight", "bias"):
        saved["state_dict"][f"network.fc.{name}"].zero_()
    torch.save(saved, best)
    assert run("test", f"--ckpt_path={best}")[0] == 0
    assert json.loads((trained / "test_metrics.json").read_text())["top1"] == 12 / 48
    assert [row["correct"] for row in table(trained / "per_class.csv")] == ["12", "0", "0", "0"]
    assert {row["predicted_id"] for row in table(trained / "confusion.csv")} == {"n90000000"}


FILES = ("test_metrics.json", "per_class.csv", "confusion.csv", "examples.png")


def test_where_one_file_cannot_be_written_those_of_the_test_before_stay(run, trained):
    test = ["test", f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}"]
    assert run(*test)[0] == 0
    before = {name: (trained / name).read_bytes() for name in FILES}
    (trained / "examples.png").unlink()
    (trained / "examples.png").mkdir()
    status, output = run(*test, "--trainer.limit_test_batches=1")
    assert status == 1 and f"{trained / 'examples.png'}: Is a directory." in output and "Traceback" not in output
    assert {name: (trained / name).read_bytes() for name in FILES[:3]} == {name: before[name] for name in FILES[:3]}
    assert not [path for path in trained.iterdir() if path.name.endswith(f"-{os.getpid()}")]


def test_where_the_picture_cannot_be_drawn_the_files_of_the_test_before_stay(run, trained, monkeypatch):
    test = ["test", f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}"]
    assert run(*test)[0] == 0
    before = {name: (trained / name).read_bytes() for name in FILES}

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("tiny_imagenet.callbacks.pictures.examples_figure", fail)
    assert run(*test, "--trainer.limit_test_batches=1")[0] == 1
    assert {name: (trained / name).read_bytes() for name in FILES} == before
