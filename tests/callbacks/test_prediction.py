"""predictions.csv, and a checkpoint that predicts without the data set."""

import base64
import io
import os
import re

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.checkpoints import soften
from tests.helpers.networks import classifier
from tests.helpers.tables import table
from tiny_imagenet import progress
from tiny_imagenet.callbacks import predictions
from tiny_imagenet.classifier import ImageClassifier
from tiny_imagenet.data import DatasetInfo, TinyImageNetDataModule


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


def test_predict_takes_files_of_any_name_and_stops_at_limit_predict_batches(run, trained, tmp_path, monkeypatch):
    (tmp_path / "pictures").mkdir()
    for name in (b"a.png", b"b.png", b"not UTF-8 \xff.png"):
        Image.new("RGB", (32, 32), "red").save(tmp_path / "pictures" / os.fsdecode(name))
    predict = ["predict", f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}", "--data.images=pictures"]
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", -1)
    status, output = run(*predict, "--data.batch_size=2")
    assert status == 0, output
    assert "predicting: 1 of 3 images" in output and "predicting: 3 of 3 images" in output
    lines = (trained / "predictions.csv").read_bytes().splitlines()[1:]
    assert [line.split(b",")[0] for line in lines] == [b"a.png", b"b.png", b"not UTF-8 \xff.png"]
    status, output = run(*predict, "--data.batch_size=1", "--trainer.limit_predict_batches=2")
    assert status == 0 and "could not be read" not in output
    assert len((trained / "predictions.csv").read_bytes().splitlines()) == 3
    status, output = run(*predict, "--data.images=nowhere")
    assert status == 1 and "images: there is no file or folder nowhere." in output


def test_predict_takes_several_places_as_a_shell_gives_them(run, trained, tmp_path):
    pictures = tmp_path / "pictures"
    (pictures / "more" / "deeper").mkdir(parents=True)
    for name in ("a.png", "b", "more/c.jfif", "more/deeper/d.jpg", "more/[1].webp"):
        kind = {"": "PNG", ".jfif": "JPEG"}.get(os.path.splitext(name)[1])
        Image.new("RGB", (32, 32), "red").save(pictures / name, kind)
    (pictures / "notes.txt").write_text("not an image")
    predict = ["predict", f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}"]

    def predicted(*images):
        status, output = run(*predict, "--data.images", *images)
        assert status == 0, output
        return [row["file"] for row in table(trained / "predictions.csv")], output

    shell = ["pictures/a.png", "pictures/b", "pictures/more", "pictures/notes.txt"]  # pictures/*
    every = ["pictures/a.png", "pictures/b", "pictures/more/[1].webp", "pictures/more/c.jfif"]
    every.append("pictures/more/deeper/d.jpg")
    files, output = predicted(*shell)
    assert files == every and "left out 1 .txt" in output
    assert predicted("pictures/*")[0] == every
    assert predicted("pictures/**/*.jfif", "pictures/a.png", "pictures/../pictures/a.png")[0] == [every[3], every[0]]
    assert sorted(predicted("pictures/**")[0]) == every
    assert predicted("pictures/more/[1].webp")[0] == ["[1].webp"]
    assert sorted(predicted("pictures/**/deeper")[0]) == ["d.jpg"], "a folder that a pattern matches"
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    for wrong, message in {
        "no/*.jpg": "nothing matches no/*.jpg",
        "pictures/gone.png": "no file or folder",
        "empty/**": "empty/** matches only folders without files",
    }.items():
        status, output = run(*predict, "--data.images", "pictures/a.png", wrong)
        assert status == 1 and message in output
    status, output = run(*predict, "--data.images", "pictures/notes.txt", "pictures/notes.txt")
    assert status == 1 and "no image in what was given" in output


def test_the_page_of_predictions_opens_alone_and_escapes_names(run, trained, tmp_path, monkeypatch):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(5):
        Image.new("RGB", (32, 32), (250, 40 * number, 0)).save(pictures / f"<b>{number}.png")
    (pictures / "broken<i>.jpg").write_bytes(b"<html>")
    monkeypatch.setattr(predictions, "THUMBNAILS", 3)
    predict = ["predict", f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}", "--data.images=pictures"]
    status, output = run(*predict, "--data.on_bad_images=skip")
    assert status == 0, output
    assert "1 image(s) could not be read and have no prediction: broken<i>.jpg (its content is not JPEG" in output
    (row,) = table(trained / "unreadable.csv")
    assert row["file"] == "broken<i>.jpg" and "not JPEG" in row["reason"]
    page = (trained / "predictions.html").read_text()
    assert "first 3 of 5 images" in page and "<b>" not in page and "broken&lt;i&gt;.jpg" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    sources = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(sources) == 3
    for number, source in enumerate(sources):
        with Image.open(io.BytesIO(base64.b64decode(source))) as image:
            assert abs(np.asarray(image)[16, 16].astype(int) - [250, 40 * number, 0]).max() <= 6
    best = table(trained / "predictions.csv")[0]
    assert f"{100 * float(best['p1']):.1f} %" in page

    status, output = run(*predict)
    assert status == 1 and "broken<i>.jpg" in output
    (pictures / "broken<i>.jpg").unlink()
    assert run(*predict)[0] == 0 and not (trained / "unreadable.csv").exists()
    assert (trained / "predictions_1.html").exists()


def test_thumbnails_are_not_read_from_the_files_again(run, trained, tmp_path, monkeypatch):
    """Large photographs take long to decode."""
    picture = tmp_path / "a.png"
    Image.new("RGB", (32, 32), (200, 100, 0)).save(picture)
    write = predictions.replace_csv

    def write_and_remove(*file):
        write(*file)
        picture.unlink()

    monkeypatch.setattr(predictions, "replace_csv", write_and_remove)
    best = trained / "checkpoints" / "best.ckpt"
    status, output = run("predict", f"--ckpt_path={best}", f"--data.images={picture}")
    assert status == 0, output
    (source,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', (trained / "predictions.html").read_text())
    with Image.open(io.BytesIO(base64.b64decode(source))) as image:
        assert abs(np.asarray(image)[16, 16].astype(int) - [200, 100, 0]).max() <= 6


def test_thumbnails_have_the_pixels_before_normalisation():
    levels = torch.arange(256, dtype=torch.uint8).repeat(3, 4, 1).permute(0, 2, 1)[None]  # all levels of each channel
    info = DatasetInfo(("a",), ("a",), 4, (0.485, 0.01, 0.99), (0.229, 0.001, 0.9))
    mean, std = info.mean_std(levels.device)
    normalised = (levels.float() / 255 - mean[:, None, None]) / std[:, None, None]
    assert np.array_equal(predictions._levels(normalised, info)[0], levels[0].permute(1, 2, 0).numpy())


def test_thumbnails_are_those_of_the_last_prediction(tmp_path, monkeypatch):
    """Of a callback that is used twice, from Python."""
    monkeypatch.setattr(predictions, "THUMBNAILS", 2)
    callback = predictions.Predictions()
    trainer = pl.Trainer(accelerator="cpu", logger=False, callbacks=[callback], default_root_dir=tmp_path)
    for red in (250, 50):
        for number in range(5):
            Image.new("RGB", (32, 32), (red, 0, 0)).save(tmp_path / f"{number}.png")
        images = [str(tmp_path / f"{number}.png") for number in range(5)]
        trainer.predict(classifier(), TinyImageNetDataModule(images=images, batch_size=2))
        assert sum(map(len, callback._seen)) == 2, "no others stay in memory"
        sources = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', (tmp_path / "predictions.html").read_text())
        assert len(sources) == 2
        for source in sources:
            with Image.open(io.BytesIO(base64.b64decode(source))) as image:
                assert abs(np.asarray(image)[16, 16].astype(int) - [red, 0, 0]).max() <= 6
