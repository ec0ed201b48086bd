"""Runs that are resumed with a changed config: which changes are reported, and which are refused."""

import pytest
import torch

from tests.helpers.options import callback
from tests.helpers.recipes import EMA, ONE_CYCLE
from tiny_imagenet.data.sets.textures import write_synthetic_archive


def test_resuming_with_a_changed_config_says_so_or_refuses(run, small, finished):
    config = finished(*small) / "config.yaml"
    status, output = run("fit", *small, "--ckpt_path=last", "--trainer.max_epochs=3", "--model.label_smoothing=0.1")
    assert status == 0, output
    assert "trainer.max_epochs: 2 -> 3" in output
    assert "model.label_smoothing: 0.0 -> 0.1" in output
    before = config.read_text()
    status, output = run("fit", *small, "--ckpt_path=last", "--model.arch=resnet34")
    assert status == 1
    assert "model.arch: resnet18 -> resnet34" in output
    status, output = run("fit", *small, "--ckpt_path=last", "--model.optimizer.lr=0.01")
    assert status == 1
    assert "model.optimizer.init_args.lr: 0.1 -> 0.01" in output
    best = config.with_name("checkpoints") / "best.ckpt"
    status, output = run("fit", *small, f"--ckpt_path={best}", "--model.arch=resnet34")
    assert status == 1
    assert "model.arch: resnet18 -> resnet34" in output
    for option in ("--seed_everything=1", "--model.freeze=[conv1]", "--model.downsampling=max_pool"):
        status, output = run("fit", *small, "--ckpt_path=last", option)
        assert status == 1
        assert f"these settings changed: {option[2:].partition('=')[0]}: " in output
    status, output = run("fit", *small, "--ckpt_path=last", "--data.batch_size=8")
    assert status == 1
    assert "batches" in output
    status, output = run("fit", *small, "--ckpt_path=last", "--data.classes=2")
    assert status == 1
    assert "4 classes" in output
    assert config.read_text() == before, "refused changes are not recorded"


def test_resuming_with_fewer_epochs_than_trained(run, small, finished):
    finished(*small)
    status, output = run("fit", *small, "--ckpt_path=last", "--trainer.max_epochs=1")
    assert status == 1 and "error: You restored a checkpoint with current_epoch=2" in output
    assert "Traceback" not in output


def test_a_schedule_that_would_end_too_early_is_refused(run, small):
    assert run("fit", *small, *ONE_CYCLE, "--trainer.max_epochs=1")[0] == 0
    status, output = run("fit", *small, *ONE_CYCLE, "--trainer.max_epochs=3", "--ckpt_path=last")
    assert status == 1
    assert "schedule ends after 8 steps, and this training after 24" in output and "Traceback" not in output


def test_an_average_cannot_be_dropped_when_resuming(run, small):
    assert run("fit", *small, *EMA, "--trainer.max_epochs=1")[0] == 0
    status, output = run("fit", *small, "--ckpt_path=last")
    assert status == 1
    assert "The checkpoint has averaged weights, which would be lost" in output
    assert run("fit", *small, *EMA, "--ckpt_path=last")[0] == 0


@pytest.mark.parametrize("name", ["WeightAveraging", "EMAWeightAveraging"])
def test_an_average_of_lightning_s_cannot_be_dropped_either(run, small, name):
    assert run("fit", *small, *callback(name), "--trainer.max_epochs=1")[0] == 0
    status, output = run("fit", *small, "--ckpt_path=last")
    assert status == 1 and "averaged weights, which would be lost" in output and "Traceback" not in output


def test_other_images_of_the_same_classes_and_numbers_are_refused(run, small, finished, tmp_path, archive):
    last = finished(*small) / "checkpoints" / "last.ckpt"
    resume = ["fit", *small, "--ckpt_path=last", "--trainer.max_epochs=3"]
    other = tmp_path / "other.zip"
    write_synthetic_archive(other, classes=4, train_per_class=32, val_per_class=12, test_images=10, seed=1)
    status, output = run(*resume, f"--data.archive={other}", "--data.root=elsewhere")
    assert status == 1 and "a training on other images, although their number is the same" in output, output

    # Extracted anew, with other times of the files.
    status, output = run(*resume, f"--data.archive={archive}", "--data.root=anew")
    assert status == 0 and "earlier version" not in output, output
    content = torch.load(last, weights_only=True)
    assert content["TinyImageNetDataModule"].pop("digest")
    torch.save(content, last)
    status, output = run(*resume, "--trainer.max_epochs=4")
    assert status == 0 and "an earlier version and does not say which images it was trained on" in output, output

    content = torch.load(last, weights_only=True)
    content["TinyImageNetDataModule"] |= {"decoded_by": "decoder 1, Pillow 11", "digest": "of other pixels"}
    torch.save(content, last)
    status, output = run(*resume, "--trainer.max_epochs=5")
    assert status == 0 and "The images were decoded by decoder 1, Pillow 11 and are now by decoder" in output, output


@pytest.mark.parametrize(("accumulated", "epochs", "needed"), [(1, 4, 32), (2, 4, None), (2, 5, 26)])
def test_a_schedule_s_steps_are_those_done_and_those_left(run, small, accumulated, epochs, needed):
    """12 steps were done, one and a half epochs: in 5 epochs, 4 + 3 · 8 batches are left, 14 steps of two each."""
    fit = ["fit", *small, *ONE_CYCLE, "--trainer.max_epochs=3"]
    assert run(*fit, "--trainer.max_steps=12", "--model.scheduler.total_steps=24")[0] == 0
    resume = [*fit, "--ckpt_path=last", f"--trainer.max_epochs={epochs}", "--model.scheduler.total_steps=24"]
    status, output = run(*resume, f"--trainer.accumulate_grad_batches={accumulated}")
    assert "Traceback" not in output
    if needed is None:
        assert status == 0, output
    else:
        assert status == 1 and f"ends after 24 steps, and this training after {needed}" in output, output


def test_a_run_with_a_single_callback_is_resumed(run, small, tmp_path):
    (tmp_path / "average.yaml").write_text("trainer: {callbacks: {class_path: EMA, init_args: {decay: 0.9}}}")
    fit = ["fit", *small, "--config=average.yaml"]
    assert run(*fit, "--trainer.max_epochs=1")[0] == 0
    status, output = run(*fit, "--ckpt_path=last")
    assert status == 0, output
