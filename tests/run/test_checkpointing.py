"""When checkpoints are saved and under which names, and how finished trainings are resumed."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.nn.functional import cross_entropy
from torchvision.transforms.v2 import functional as F

from tests.helpers.comparing import assert_same, contents
from tests.helpers.killing import Killed
from tests.helpers.options import callback
from tests.helpers.recipes import SAVE_OFTEN
from tests.helpers.tables import table
from tiny_imagenet import ImageClassifier, TinyImageNetDataModule


def test_a_checkpoint_every_so_many_minutes(run, small, tmp_path):
    kill = callback("killing.KillAt", hook="train_batch_start", at=5)
    with pytest.raises(Killed):
        run("fit", *small, "--checkpoint.every_minutes=1e-6", *kill)
    last = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 5


def test_best_is_the_epoch_with_the_best_monitor(run, small, tmp_path):
    assert run("fit", *small, "--trainer.max_epochs=4", "--model.optimizer.lr=0.02")[0] == 0
    version = tmp_path / "runs" / "defaults" / "version_0"
    top1 = [float(row["val/top1"]) for row in table(version / "metrics.csv")]
    best = torch.load(version / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == top1.index(max(top1))


def test_in_progressive_training_each_epoch_is_validated_at_its_own_size(run, small, archive, data_root, tmp_path):
    sizes = '--data.progressive={"16": 0, "24": 0.3, "32": 0.6}'
    status, output = run("fit", *small, sizes, "--trainer.max_epochs=3", "--trainer.max_steps=16")
    assert status == 0 and re.search(r"Best val top-1 .* at 24 pixels \(epoch 2 of 3\)", output), output
    version = tmp_path / "runs" / "defaults" / "version_0"
    rows = table(version / "metrics.csv")
    assert [float(row["image_size"]) for row in rows] == [16, 24]
    data = TinyImageNetDataModule(data_root, str(archive), None, image_size=32)
    data.setup("fit")
    images, labels = data.sets["val"][np.arange(len(data.sets["val"]))]
    for row, name, side in zip(rows, ("previous", "last"), (16, 24), strict=True):
        network = ImageClassifier.load_from_checkpoint(version / "checkpoints" / f"{name}.ckpt").eval()
        seen = F.normalize(
            F.resize(F.resize(images, [32, 32]), [side, side]) / 255, network.info.mean, network.info.std
        )
        assert float(row["val/loss"]) == pytest.approx(cross_entropy(network(seen), labels).item(), rel=1e-3)
    best = torch.load(version / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == 1, "accuracies at another size do not compare"
    status, output = run("validate", f"--ckpt_path={version / 'checkpoints' / 'last.ckpt'}")
    whole = F.normalize(F.resize(images, [32, 32]) / 255, network.info.mean, network.info.std)
    assert status == 0 and f"loss {cross_entropy(network(whole), labels).item():.3f}" in output, "at image_size"


def test_nan_stops_and_keeps_the_last_good_checkpoint(run, small, tmp_path):
    poison = callback("killing.PoisonAt", hook="train_batch_start", at=9)
    status, output = run("fit", *small, *SAVE_OFTEN, *poison)
    assert status == 1
    assert "The loss was NaN or infinite at step 10" in output, "the tenth batch used the poisoned weights"
    checkpoints = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints"
    kept = {path.stem: torch.load(path, weights_only=True) for path in checkpoints.iterdir()}
    assert {name: checkpoint["global_step"] for name, checkpoint in kept.items()} == {
        "last": 9, "previous": 8, "best": 8,
    }  # fmt: skip
    assert all(w.isfinite().all() for checkpoint in kept.values() for w in checkpoint["state_dict"].values())


def test_a_callback_may_save_its_own_checkpoints(run, small, tmp_path):
    status, output = run("fit", *small, *callback("ModelCheckpoint", dirpath="own"))
    assert status == 0, output
    assert "epoch 2/2 |" in output
    own = [torch.load(path, weights_only=True)["epoch"] for path in (tmp_path / "own").iterdir()]
    run_s = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints"
    assert own == [1] and sorted(os.listdir(run_s)) == ["best.ckpt", "last.ckpt", "previous.ckpt"]


@pytest.mark.parametrize("place", ["elsewhere/own", "{}/own", "runs/defaults/version_0/mine"])
def test_the_run_of_a_checkpoint_that_a_callback_saved_is_found(run, small, tmp_path, place):
    place = place.format(tmp_path)
    saves = callback("ModelCheckpoint", dirpath=place, filename="mine-{epoch}")
    assert run("fit", *small, *saves, "--trainer.max_epochs=1")[0] == 0
    (own,) = Path(place).iterdir()
    status, output = run("test", f"--ckpt_path={own}")
    assert status == 0, output
    results = tmp_path / "runs/defaults/version_0/test_metrics.json"
    assert json.loads(results.read_text())["images"] == 48 and not list(own.parent.glob("*.json"))
    status, output = run("fit", *small, *saves, f"--ckpt_path={own}", "--trainer.max_epochs=2")
    assert status == 0 and "trainer.max_epochs: 1 -> 2" in output, output
    assert (tmp_path / "runs/defaults/version_1/config.yaml").exists()

    config = tmp_path / "runs/defaults/version_0/config.yaml"  # a single callback, not in a list
    content = yaml.safe_load(config.read_text())
    (content["trainer"]["callbacks"],) = content["trainer"]["callbacks"]
    config.write_text(yaml.safe_dump(content))
    assert run("test", f"--ckpt_path={own}")[0] == 0

    # A copy in another folder may be from anyone: it does not choose a run to write to.
    (tmp_path / "strange").mkdir()
    copied = shutil.copy(own, tmp_path / "strange")
    results.unlink()
    status, output = run("test", f"--ckpt_path={copied}")
    assert status == 1 and "is not there. Give the config: " in output and not results.exists()


def test_a_training_that_stopped_early_stays_stopped(run, small, tmp_path):
    stop = callback("EarlyStopping", monitor="val/loss", min_delta=1000, patience=1)
    fit = ["fit", *small, *stop, "--trainer.max_epochs=9"]
    assert run(*fit)[0] == 0
    ended = contents(tmp_path / "runs" / "defaults" / "version_0")
    assert len(ended[1]) == 2
    for _ in range(2):
        status, output = run(*fit, "--ckpt_path=last")
        assert status == 0 and "Already finished" in output
        assert_same(contents(tmp_path / "runs" / "defaults" / "version_0"), ended)


def test_a_training_that_stopped_within_an_epoch_is_saved_and_resumes_with_more_patience(run, small, tmp_path):
    fit = ["fit", *small, "--trainer.val_check_interval=3"]  # of 8 batches
    stop = callback("EarlyStopping", monitor="val/loss", stopping_threshold=1e9)
    last = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints" / "last.ckpt"
    for resumption in ([], ["--ckpt_path=last"]):
        assert run(*fit, *stop, *resumption)[0] == 0
        assert torch.load(last, weights_only=True)["global_step"] == 3
    patient = callback("EarlyStopping", monitor="val/loss", stopping_threshold=None, patience=9)
    status, output = run(*fit, *patient, "--ckpt_path=last")
    assert status == 0, output
    assert torch.load(last, weights_only=True)["global_step"] == 16


def test_a_training_whose_time_is_up_keeps_its_rows(run, small, tmp_path):
    fit = ["fit", *small, "--trainer.max_epochs=500", "--trainer.max_time=00:00:00:02"]
    assert run(*fit)[0] == 0
    metrics = tmp_path / "runs" / "defaults" / "version_0" / "metrics.csv"
    before = metrics.read_text()
    status, output = run(*fit, "--ckpt_path=last")
    assert status == 0 and "Already finished" in output
    assert metrics.read_text() == before


def test_a_training_that_max_steps_ended_within_an_epoch_is_resumed(run, small, finished):
    runs = finished(*small).parent
    assert run("fit", *small, "--trainer.max_steps=11")[0] == 0
    ended = torch.load(runs / "version_1" / "checkpoints" / "last.ckpt", weights_only=True)
    assert ended["global_step"] == 11
    status, output = run("fit", *small, "--ckpt_path=last")
    assert status == 0, output
    expected, found = (table(runs / f"version_{version}" / "metrics.csv") for version in (0, 1))
    assert [(row["epoch"], row["step"]) for row in found] == [(row["epoch"], row["step"]) for row in expected]
    assert found[1]["val/top1"]
