"""The main job as a user does it, on the small archive: fit, validate, test, predict, and what they leave."""

import csv
import json
import os
import re
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from jsonargparse import _common
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torchvision.models import resnet18

from tiny_imagenet.classifier import ImageClassifier


@pytest.fixture
def trained(run, small, tmp_path):
    """A finished run's folder."""
    status, output = run("fit", "--config=resnet18_aug.yaml", *small)
    assert status == 0, output
    assert "python training.py test --ckpt_path runs/resnet18_aug/version_0/checkpoints/best.ckpt" in output
    return tmp_path / "runs" / "resnet18_aug" / "version_0"


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def soften(checkpoint):
    """Make a network less sure of itself, so that its probabilities tell something: logits of noise differ by 1."""
    model = ImageClassifier.load_from_checkpoint(checkpoint).eval()
    with torch.no_grad():
        spread = model(torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))).std(dim=1).mean()
    saved = torch.load(checkpoint, weights_only=True)
    for name in ("weight", "bias"):
        saved["state_dict"][f"network.fc.{name}"] /= spread
    torch.save(saved, checkpoint)


def test_fit_test_predict(run, trained, tmp_path):
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
    assert metrics["top5"] == 1.0 >= metrics["top1"], "four classes: each answer is among the first five"
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
        shares = [float(row[f"p{k}"]) for k in range(1, 5)]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert row["id1"] in {row["class_id"] for row in classes}

    status, output = run("validate", f"--ckpt_path={best}")
    assert status == 0, output
    epoch = torch.load(best, weights_only=True)["epoch"]
    assert f"{float(rows[epoch]['val/top1']):.6f}"[:7] in output, "the same figure as in the epoch that it is of"


def test_where_the_test_images_would_choose_the_best_epoch_the_last_is_to_be_tested(run, small, tmp_path):
    status, output = run("fit", "--config=resnet18_aug.yaml", *small, "--data.holdout=0", "--trainer.max_epochs=1")
    assert status == 0 and "test --ckpt_path runs/resnet18_aug/version_0/checkpoints/last.ckpt" in output
    protocol = json.loads((tmp_path / "runs/resnet18_aug/version_0/protocol.json").read_text())
    assert protocol == {"train_images": 128, "val_images": 48, "validates_on_test": True}


def test_the_size_of_the_network_is_told(run, small):
    status, output = run("fit", *small, "--trainer.max_epochs=1", "--model.freeze=[conv1]")
    network = resnet18(num_classes=4)
    # Of an eighth of the width, kernels have 1/64 of the numbers, but for those from colours and to classes.
    inner = sum(p.numel() for name, p in network.named_parameters() if p.ndim == 4 and name != "conv1.weight") // 64
    outer = sum(p.numel() for name, p in network.named_parameters() if p.ndim == 1 and name != "fc.bias") // 8
    total = inner + outer + 3 * 8 * 49 + 64 * 4 + 4
    assert status == 0 and f"resnet18: {total:,} parameters, {3 * 8 * 49:,} of them frozen." in output, output


def test_tensorboard_gets_scalars_and_pictures(run, trained):
    _, output = run("test", f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}")
    assert "images were tested" not in output
    events = EventAccumulator(str(trained), size_guidance={"images": 0}).Reload()
    tags = events.Tags()
    assert {"train/loss", "train/top1", "val/loss", "val/top1", "val/top5", "images_per_s"} <= set(tags["scalars"])
    assert any(tag.startswith("lr-") for tag in tags["scalars"])
    assert {"train/images", "test/confusion"} <= set(tags["images"])
    assert [point.value for point in events.Scalars("val/top1")] == pytest.approx(
        [float(row["val/top1"]) for row in table(trained / "metrics.csv")]
    )


def test_a_test_of_some_images_says_so(run, trained):
    test = ["test", f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}", "--data.batch_size=16"]
    status, output = run(*test, "--trainer.limit_test_batches=2")
    assert status == 0 and "Only 32 of the 48 test images were tested" in output
    assert json.loads((trained / "test_metrics.json").read_text())["images"] == 32


def test_of_equal_logits_the_first_class_is_the_answer_in_every_file(run, trained):
    best = trained / "checkpoints" / "best.ckpt"
    saved = torch.load(best, weights_only=True)
    for name in ("weight", "bias"):
        saved["state_dict"][f"network.fc.{name}"].zero_()
    torch.save(saved, best)
    assert run("test", f"--ckpt_path={best}")[0] == 0
    assert json.loads((trained / "test_metrics.json").read_text())["top1"] == 12 / 48
    assert [row["correct"] for row in table(trained / "per_class.csv")] == ["12", "0", "0", "0"]
    assert {row["predicted_id"] for row in table(trained / "confusion.csv")} == {"n90000000"}


def test_a_checkpoint_carries_all_that_prediction_needs(run, small, trained, tmp_path):
    best = trained / "checkpoints" / "best.ckpt"
    model = ImageClassifier.load_from_checkpoint(best, weights_only=True)
    assert len(model.info.class_ids) == len(model.info.class_names) == 4
    assert model.info.image_size == 32
    assert 0 < min(model.info.mean) < max(model.info.std) + max(model.info.mean) < 2

    # Predict without the data set, from the network alone, and compare with the command.
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


def test_predict_takes_files_of_any_name_and_stops_where_it_is_told(run, trained, tmp_path):
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


def test_a_checkpoint_that_names_a_class_to_make_runs_no_code(trained, tmp_path, monkeypatch):
    """Lightning would make what the hyperparameters say with jsonargparse, which imports it, weights_only or not."""
    (tmp_path / "strange.py").write_text(
        "open('attacked', 'w').close()\nfrom torch.optim import SGD\nclass Code(SGD): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    checkpoint = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["hyper_parameters"] |= {
        "_instantiator": "lightning.pytorch.cli.instantiate_module",
        "optimizer": {"class_path": "strange.Code", "init_args": {"lr": 0.1}},
    }
    torch.save(checkpoint, "evil.ckpt")
    monkeypatch.setitem(_common.parsing_settings, "import_paths_enforced", False)  # as where no command line was read
    with suppress(Exception):
        super(ImageClassifier, ImageClassifier).load_from_checkpoint("evil.ckpt", weights_only=True)
    attacked = Path("attacked")
    assert attacked.exists(), "without the guard the attack works, or it would show nothing"
    attacked.unlink()
    sys.modules.pop("strange")
    with suppress(Exception):
        ImageClassifier.load_from_checkpoint("evil.ckpt")
    assert not attacked.exists()


@pytest.mark.parametrize("mirrored, shift", [(True, 0), (False, 31), (True, 3)])
def test_tta_is_the_mean_of_the_logits_of_an_image_and_its_other_views(run, small, trained, tmp_path, mirrored, shift):
    best = trained / "checkpoints" / "best.ckpt"
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    soften(best)
    tta = [f"--model.tta={str(mirrored).lower()}", f"--model.tta_shift={shift}"]
    status, output = run("predict", f"--ckpt_path={best}", f"--data.images={tmp_path / 'a.png'}", *tta)
    assert status == 0, output
    views = [pixels]
    if shift:
        around = np.pad(pixels, [(shift, shift), (shift, shift), (0, 0)], mode="reflect")
        views += [around[:32, :32], around[-32:, -32:]]
    if mirrored:
        views += [view[:, ::-1] for view in views]
    model = ImageClassifier.load_from_checkpoint(best, weights_only=True).eval()
    images = (torch.from_numpy(np.stack(views)) / 255 - torch.tensor(model.info.mean)) / torch.tensor(model.info.std)
    with torch.no_grad():
        logits = model(images.permute(0, 3, 1, 2))
    expected = logits.mean(dim=0).softmax(dim=0)
    for left_out in range(len(logits)):
        other = logits[torch.arange(len(logits)) != left_out].mean(dim=0).softmax(dim=0)
        assert abs(expected.max() - other.max()) > 1e-4, "or a view left out could not be told"
    (row,) = table(trained / "predictions.csv")
    assert float(row["p1"]) == pytest.approx(expected.max().item(), abs=1e-5)
    assert row["id1"] == model.info.class_ids[expected.argmax()]


def test_views_are_for_evaluation_and_their_mean_is_not_rounded_to_half_precision(trained):
    best = trained / "checkpoints" / "best.ckpt"
    model = ImageClassifier.load_from_checkpoint(best, tta=True, tta_shift=1).eval()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = model._logits(images)
        moved = [torch.from_numpy(np.pad(images, [(0, 0), (0, 0), *side], mode="reflect")) for side in (
            [(1, 0), (1, 0)], [(0, 1), (0, 1)])]  # fmt: skip
        views = [images, moved[0][:, :, :32, :32], moved[1][:, :, 1:, 1:]]
        logits = [model(view).double() for image in views for view in (image, image.flip(3))]
        assert len(model._logits(images[:0])) == 0, "a rank may have no image"
        training, alone = model.train()._logits(images), model(images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), sum(logits) / 6, rtol=1e-6, atol=1e-6)
    assert training.equal(alone)


@pytest.mark.parametrize(
    "shift, told",
    [(-1, "tta_shift is a number of pixels from 0, not -1."), (32, "tta_shift is 32 pixels, and images have only 32")],
)
def test_a_shift_that_leaves_nothing_of_an_image_is_refused(run, small, shift, told):
    status, output = run("fit", *small, f"--model.tta_shift={shift}")
    assert status == 1 and told in output and "Traceback" not in output


def test_label_smoothing_gives_each_class_a_share_of_the_target(trained):
    model = ImageClassifier.load_from_checkpoint(trained / "checkpoints" / "best.ckpt", label_smoothing=0.2).eval()
    images, targets = torch.randn(6, 3, 32, 32), torch.tensor([0, 1, 2, 3, 0, 1])
    model.trainer = pl.Trainer(logger=False, accelerator="cpu", log_every_n_steps=2)
    with torch.no_grad():
        found = model.training_step((images, targets), 0)
        logits = model(images).double().numpy()
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -0.8 * logs[np.arange(6), targets.numpy()] - 0.2 * logs.mean(axis=1)
    assert found.item() == pytest.approx(expected.mean(), rel=1e-5)


def test_a_terminal_gets_a_bar_with_the_loss_of_the_step(run, small, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    status, output = run("fit", *small, "--trainer.max_epochs=1", "--trainer.log_every_n_steps=50")
    assert status == 0, output
    assert re.search(r"Epoch 0: 100%.* loss=\d\.\d{3}", output) and "epoch 1/1 |" not in output


def test_the_same_seed_gives_the_same_run(run, small, tmp_path):
    for _ in range(2):
        assert run("fit", *small, "--trainer.max_epochs=1")[0] == 0
    assert run("fit", *small, "--trainer.max_epochs=1", "--seed_everything=1")[0] == 0
    losses = [
        table(tmp_path / "runs" / "defaults" / f"version_{version}" / "metrics.csv")[0]["train/loss"]
        for version in range(3)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_loss_is_the_mean_over_images_however_they_are_batched(run, small, trained):
    best = trained / "checkpoints" / "best.ckpt"
    losses = []
    for batch_size in (48, 7):
        assert run("test", f"--ckpt_path={best}", f"--data.batch_size={batch_size}")[0] == 0
        losses.append(json.loads((trained / "test_metrics.json").read_text())["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_sums_of_an_epoch_travel_in_its_checkpoints(run, small, tmp_path):
    options = ["--data.holdout=0", "--trainer.max_epochs=1", "--checkpoint.every_n_steps=1"]
    assert run("fit", *small, *options)[0] == 0
    checkpoints = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints"
    previous = torch.load(checkpoints / "previous.ckpt", weights_only=True)["train_metrics"]
    assert previous["loss"]["weight"] == previous["top1"]["tp"] + previous["top1"]["fn"] == 7 * 16, "of the 128 images"
    last = torch.load(checkpoints / "last.ckpt", weights_only=True)["train_metrics"]
    assert last["loss"]["weight"] == 0, "they start anew after the epoch"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_network_learns_as_another_and_its_checkpoint_fits_both(run, small, tmp_path):
    # So slowly that rounding does not grow.
    options = ["--config=resnet18_aug.yaml", *small, "--trainer.max_epochs=1", "--model.optimizer.lr=0.001"]
    rows = []
    for version, compiled in enumerate(("false", "true")):
        status, output = run("fit", *options, f"--model.compile={compiled}")
        assert status == 0, output
        rows += table(tmp_path / f"runs/resnet18_aug/version_{version}/metrics.csv")
    for name in ("train/loss", "val/loss"):
        assert float(rows[1][name]) == pytest.approx(float(rows[0][name]), rel=1e-3)
    best = tmp_path / "runs/resnet18_aug/version_1/checkpoints/best.ckpt"
    status, output = run("test", f"--ckpt_path={best}", "--model.compile=false")
    assert status == 0, output
