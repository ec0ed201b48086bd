"""The main job as users do it, on the small archive: fit, validate, test and predict, and their files."""

import json

import pytest
import torch
from PIL import Image

from tests.helpers.tables import table


def test_fit_test_predict(run, small, tmp_path):
    status, output = run("fit", "--config=resnet18_aug.yaml", *small)
    assert status == 0, output
    assert "training.py test --ckpt_path runs/resnet18_aug/version_0/checkpoints/best.ckpt\n" in output
    trained = tmp_path / "runs" / "resnet18_aug" / "version_0"
    assert {path.name for path in (trained / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    rows = table(trained / "metrics.csv")
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert list(rows[0])[:8] == ["epoch", "step", "train/loss", "train/top1", "val/loss", "val/top1", "val/top5", "lr"]
    assert {"seconds", "images_per_s", "memory"} <= set(rows[0])
    assert all(value for row in rows for value in row.values())
    protocol = json.loads((trained / "protocol.json").read_text())
    assert protocol == {"train_images": 128 - 13, "val_images": 13, "validates_on_test": False}

    best = trained / "checkpoints" / "best.ckpt"
    status, output = run("test", f"--ckpt_path={best}")
    assert status == 0, output
    metrics = json.loads((trained / "test_metrics.json").read_text())
    assert metrics.keys() == {"top1", "top5", "loss", "images"}
    assert metrics["images"] == 48
    assert metrics["top5"] == 1.0 >= metrics["top1"], "with four classes, every answer is in the top five"
    classes = table(trained / "per_class.csv")
    assert [row["class_id"] for row in classes] == sorted(row["class_id"] for row in classes)
    assert sum(int(row["images"]) for row in classes) == 48
    assert sum(int(row["correct"]) for row in classes) == round(48 * metrics["top1"])
    assert sum(int(row["count"]) for row in table(trained / "confusion.csv")) == 48
    with Image.open(trained / "examples.png") as picture:
        assert min(picture.size) > 300

    status, output = run("predict", f"--ckpt_path={best}")
    assert status == 0, output
    predictions = table(trained / "predictions.csv")
    assert [row["file"] for row in predictions] == sorted(f"test_{number}.JPEG" for number in range(10))
    for row in predictions:
        probabilities = [float(row[f"p{k}"]) for k in range(1, 5)]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert row["id1"] in {row["class_id"] for row in classes}

    status, output = run("validate", f"--ckpt_path={best}")
    assert status == 0, output
    epoch = torch.load(best, weights_only=True)["epoch"]
    assert f"validation top-1 {100 * float(rows[epoch]['val/top1']):.1f} %, loss " in output, (
        "the same value as in the checkpoint's epoch"
    )


def test_the_same_seed_gives_the_same_run(run, small, tmp_path):
    for _ in range(2):
        assert run("fit", *small, "--trainer.max_epochs=1")[0] == 0
    assert run("fit", *small, "--trainer.max_epochs=1", "--seed_everything=1")[0] == 0
    losses = [
        table(tmp_path / "runs" / "defaults" / f"version_{version}" / "metrics.csv")[0]["train/loss"]
        for version in range(3)
    ]
    assert losses[0] == losses[1] != losses[2]
