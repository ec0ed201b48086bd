"""What a user sees of a run."""

import re
import sys
import time

import pytest
import torch

from tests.helpers.options import callback
from tiny_imagenet.callbacks.progress import Progress, epoch_line, result_line
from tiny_imagenet.progress import duration_text, loss_text

ROW = {"epoch": 11, "step": 420, "train/loss": 2.2831, "train/top1": 0.4312, "val/loss": 2.5702, "val/top1": 0.4101,
       "val/top5": 0.6599, "lr": 0.1, "seconds": 60.0, "images_per_s": 1234.5, "memory": 2048.0}  # fmt: skip


def test_an_epoch_in_one_line():
    line = epoch_line(ROW, 50, 80.4)
    assert line == (
        "epoch 12/50 | train loss 2.283 top-1 43.1 % | val loss 2.570 top-1 41.0 % top-5 66.0 % | 1,234 images/s | "
        "1 min 20 s left"
    )


def test_a_narrow_terminal_gets_fewer_figures():
    assert "images/s" not in (line := epoch_line(ROW, 50, None, columns=90)) and "top-5" in line
    narrow = epoch_line(ROW, 50, None, columns=80)
    assert narrow == "epoch 12/50 | train loss 2.283 top-1 43.1 % | val loss 2.570 top-1 41.0 %"


def test_few_classes_have_no_top5_and_a_training_without_an_end_no_number_of_epochs():
    line = epoch_line(ROW, -1, None, few_classes=True)
    assert line.startswith("epoch 12 | ") and "top-5" not in line
    assert epoch_line({"epoch": 0, "train/loss": 1.0}, None, None) == "epoch 1 | train loss 1.000"


def test_a_result_in_one_line():
    metrics = {name: torch.tensor(value) for name, value in
               {"test/loss": 2.2831, "test/top1": 0.1439, "test/top5": 0.578}.items()}  # fmt: skip
    assert result_line("test", metrics, 500, 10) == "test top-1 14.4 %, top-5 57.8 %, loss 2.283 (500 images)"
    assert result_line("test", metrics, None, 5) == "test top-1 14.4 %, loss 2.283"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (80, "1 min 20 s"), (3599.6, "1 h 00 min"), (11_100, "3 h 05 min")],
)
def test_durations(seconds, text):
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("loss", "text"), [(2.2831, "2.283"), (999.9, "999.900"), (472025.6, "4.7e5"), (float("nan"), "nan")]
)
def test_losses(loss, text):
    assert loss_text(loss) == text


@pytest.mark.parametrize(("resumed_at", "left"), [(0, 400), (4, 800)])
def test_the_time_left_counts_on_larger_images(run, small, monkeypatch, resumed_at, left):
    """After 100 s of 16 pixels, of eight steps or of four after a resume, an epoch at 32 is left."""
    told = {}
    seconds_left = Progress._seconds_left

    def tell(self, trainer):
        if trainer.current_epoch == 1 and not told:
            self._started, self._first_batch = time.monotonic() - 100, resumed_at
            told["left"] = seconds_left(self, trainer)
        return seconds_left(self, trainer)

    monkeypatch.setattr(Progress, "_seconds_left", tell)
    status, output = run("fit", *small, "--data.progressive={16: 0, 32: 0.5}")
    assert status == 0, output
    assert told["left"] == pytest.approx(left, rel=0.01)


def test_a_log_file_gets_a_line_an_epoch_and_the_result(run, small):
    status, output = run("fit", *small)
    assert status == 0, output
    assert "CPU, 1 thread, 32-true, seed 42; 115 training and 13 validation images of 4 classes\n" in output
    assert re.search(r"epoch 1/2 \| train loss .* \| val loss .* images/s \| \d+ s left\n", output)
    assert re.search(r"epoch 2/2 \| .* images/s\n", output) and "|  " not in output
    assert re.search(r"Best val top-1 \d+\.\d % \(epoch [12] of 2\) in \d+ s\.\n", output)
    for noise in ("GPU available", "Seed set", "Restoring", "stopped:", "logging interval"):
        assert noise not in output


@pytest.mark.parametrize(
    ("limit", "epochs"),
    [
        ("--trainer.max_steps=11", [1]),  # of 8 steps an epoch
        ("--trainer.max_steps=16", [1, 2]),
        ("--trainer.max_steps=5", []),
        ("--trainer.max_time={seconds: 1}", None),
    ],
)
def test_each_finished_epoch_has_one_line_where_a_limit_ends_the_training(run, small, limit, epochs):
    status, output = run("fit", *small, "--trainer.max_epochs=1000", limit)
    assert status == 0, output
    told = [int(number) for number in re.findall(r"^epoch (\d+)/1000 \|", output, re.MULTILINE)]
    assert told == (list(range(1, len(told) + 1)) if epochs is None else epochs), output
    assert output.count("Best val top-1") == bool(told)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--trainer.max_epochs=2", "--trainer.check_val_every_n_epoch=3"], "max_epochs 2"),
        (["--trainer.max_epochs=3", "--trainer.check_val_every_n_epoch=2"], "max_epochs 3"),
        (["--trainer.max_epochs=2", "--trainer.check_val_every_n_epoch=2"], None),
        (["--trainer.max_epochs=-1", "--trainer.max_steps=9", "--trainer.check_val_every_n_epoch=2"], None),
        (["--trainer.max_epochs=1", "--trainer.check_val_every_n_epoch=2", "--trainer.limit_val_batches=0"], None),
    ],
)
def test_an_unvalidated_last_epoch_is_told_at_the_start(run, small, options, told):
    status, output = run("fit", *small, *options)
    assert status == 0, output
    assert ("The last epoch will not be validated" in output) == bool(told), output
    if told:
        note, line = output.index(f"trainer.{told} is not a multiple"), output.index("epoch 1/")
        assert note < line


def test_a_terminal_gets_a_bar_with_the_loss_of_the_step(run, small, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(Progress, "REFRESH", 0.0)
    status, output = run("fit", *small, "--trainer.max_epochs=1", "--trainer.log_every_n_steps=50")
    assert status == 0, output
    assert re.search(r"epoch 1/1 \|.{20}\| \d/8  loss \d\.\d{3}", output) and "validating |" in output
    assert re.search(r"epoch 1/1 \| train loss .* \| val loss", output), "the line of the epoch too"


@pytest.mark.parametrize("options", [["--trainer.enable_progress_bar=false"], callback("TQDMProgressBar")])
def test_a_bar_is_left_out_or_the_user_s_own(run, small, monkeypatch, options):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    status, output = run("fit", *small, "--trainer.max_epochs=1", *options)
    assert status == 0 and not re.search(r"epoch 1/1 \|.{20}\| \d", output), output
    assert "epoch 1/1 | train loss" in output
    assert ("Epoch 0: 100%" in output) == ("TQDM" in str(options))


def test_a_resumed_training_says_where_it_goes_on(run, small):
    kill = callback("killing.SignalAt", number=15, at=10)  # of 8 steps an epoch
    assert run("fit", *small, *kill)[0] == 143
    status, output = run("fit", *small, "--ckpt_path=last")
    assert status == 0 and "Resuming at epoch 2 of 2, step 4 of 8.\n" in output, output
    assert "epoch 2/2 |" in output and "epoch 1/2 |" not in output


def test_an_evaluation_prints_its_result_and_files(run, trained):
    status, output = run("test", f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}")
    assert status == 0
    assert re.search(r"test top-1 \d+\.\d %, loss [\d.]+(e\d)? \(48 images\)\n", output), output
    assert f"  {trained}: test_metrics.json, per_class.csv, confusion.csv, examples.png\n" in output
    assert "DataLoader 0" not in output


def test_few_predictions_are_printed_and_earlier_ones_kept(run, trained, tmp_path):
    from PIL import Image

    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    predict = ["predict", f"--ckpt_path={trained}", "--data.images=red.png"]
    status, output = run(*predict)
    assert status == 0 and re.search(r"red\.png: .+ \d+\.\d %, .+ %, .+ %\n1 prediction: ", output), output
    before = (trained / "predictions.csv").read_text()
    status, output = run("predict", f"--ckpt_path={trained}")
    assert status == 0 and f"10 predictions: {trained / 'predictions.csv'} (earlier ones: " in output
    assert (trained / "predictions_1.csv").read_text() == before
