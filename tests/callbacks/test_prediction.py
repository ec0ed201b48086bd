"""predictions.csv, and a checkpoint that predicts without the data set."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.checkpoints import soften
from tests.helpers.tables import table
from tiny_imagenet.classifier import ImageClassifier


def test_a_checkpoint_carries_all_that_prediction_needs(run, trained, tmp_path):
    best = trained / "checkpoints" / "best.ckpt"
    model = ImageClassifier.load_from_checkpoint(best, weights_only=True)
    assert len(model.info.class_ids) == len(model.info.class_names) == 4
    assert model.info.image_size == 32
    assert 0 < min(model.info.mean) < max(model.info.std) + max(model.info.mean) < 2

    # Predict with the network alone, without the data module, and compare with the command.
    rng = np.random.default_rng(0)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(pictures / "a.png")
    Image.fromarray(rng.integers(0, 256, (50, 70), dtype=np.uint8)).save(pictures / "grey.jpg")
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    soften(best)
    model = ImageClassifier.load_from_checkpoint(best)
    arguments = ["predict", f"--ckpt_path={best}", f"--data.images={pictures}"]
    status, output = run(*arguments, "--data.archive=nowhere.zip", f"--data.root={tmp_path / 'nothing'}")
    assert status == 1, "one image could not be read"
    assert "broken.jpg" in output
    predictions = {row["file"]: row for row in table(trained / "predictions.csv")}
    assert predictions.keys() == {"a.png", "grey.jpg"}
    model.eval()
    mean, std = torch.tensor(model.info.mean), torch.tensor(model.info.std)
    image = ((torch.from_numpy(pixels) / 255 - mean) / std).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = model(image).softmax(dim=1)[0]
    assert expected.max() < 0.9
    assert predictions["a.png"]["id1"] == model.info.class_ids[expected.argmax()]
    assert float(predictions["a.png"]["p1"]) == pytest.approx(expected.max().item(), abs=1e-5)


def test_predict_takes_files_of_any_name_and_stops_at_limit_predict_batches(run, trained, tmp_path):
    (tmp_path / "pictures").mkdir()
    for name in (b"a.png", b"b.png", b"not UTF-8 \xff.png"):
        Image.new("RGB", (32, 32), "red").save(tmp_path / "pictures" / os.fsdecode(name))
    predict = ["predict", f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}", "--data.images=pictures"]
    status, output = run(*predict)
    assert status == 0, output
    lines = (trained / "predictions.csv").read_bytes().splitlines()[1:]
    assert [line.split(b",")[0] for line in lines] == [b"a.png", b"b.png", b"not UTF-8 \xff.png"]
    status, output = run(*predict, "--data.batch_size=1", "--trainer.limit_predict_batches=2")
    assert status == 0 and "could not be read" not in output
    assert len((trained / "predictions.csv").read_bytes().splitlines()) == 3
    status, output = run(*predict, "--data.images=nowhere")
    assert status == 1 and "images: there is no file or folder nowhere." in output
