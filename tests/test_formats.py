"""What earlier versions wrote is tested, resumed and reported as then; tests/formats/README.md says how it was made."""

import json
import tarfile
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

from tests.helpers.commands import exit_status
from tests.helpers.paths import ROOT
from tests.helpers.tables import table
from tiny_imagenet.classifier import ImageClassifier
from tiny_imagenet.data import ImageFolderDataModule
from tiny_imagenet.errors import UserError
from tiny_imagenet.report.__main__ import main as report
from tiny_imagenet.run.checkpoint_files import FORMAT, FORMAT_KEY
from tiny_imagenet.sweep.__main__ import main as sweep
from tiny_imagenet.sweep.study import FORMAT as SWEEP_FORMAT

FORMATS = ROOT / "tests" / "formats"
WHOLE, STOPPED = Path("runs/small/version_0"), Path("runs/small/version_1")
BEST = WHOLE / "checkpoints" / "best.ckpt"
SAME = {"rel": 1e-4, "abs": 1e-5}  # of losses: other versions of torch, and other CPUs, add in another order
MEASURED = ("seconds", "images_per_s", "memory")


@pytest.fixture(params=range(1, FORMAT + 1), ids="format {}".format)
def expected(request, tmp_path, run, monkeypatch):
    """Extract the files of a format to the working directory. Returns what its version found in them."""
    with tarfile.open(FORMATS / f"{request.param}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    # Where a version takes its own pack for another's, it decodes the images again.
    monkeypatch.setattr("tiny_imagenet.data.images.unfinished.decode_tasks", None)
    return json.loads((FORMATS / f"{request.param}.json").read_text())


def test_a_run_is_tested(run, expected):
    for name in ("test_metrics.json", "per_class.csv", "confusion.csv"):
        (WHOLE / name).rename(f"earlier-{name}")
    status, output = run("test", f"--ckpt_path={BEST}")
    assert status == 0, output
    assert json.loads((WHOLE / "test_metrics.json").read_text()) == pytest.approx(expected["test"], **SAME)
    for name in ("per_class.csv", "confusion.csv"):
        assert table(WHOLE / name) == table(Path(f"earlier-{name}"))


def test_a_training_is_resumed(run, expected):
    assert torch.load(STOPPED / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 6
    status, output = run("fit", "--config=small.yaml", f"--ckpt_path={STOPPED}", "--trainer.max_steps=-1")
    assert status == 0, output
    rows, before = table(STOPPED / "metrics.csv"), expected["resumed"]
    assert [row["step"] for row in rows] == [row["step"] for row in before]
    for row, earlier in zip(rows, before, strict=True):
        for name in earlier.keys() - set(MEASURED):
            assert float(row[name]) == pytest.approx(float(earlier[name]), **SAME), name


def test_runs_are_reported(expected, capfd, monkeypatch):
    monkeypatch.setattr("tiny_imagenet.report.trials.differing", None)  # what trials.csv says is enough
    report(["runs", "--out", "report"])
    assert "4 runs in runs" in (told := capfd.readouterr()).out and "skipped" not in told.err
    rows = {row["run"]: row for row in table(Path("report/tables/runs.csv"))}
    for trial in expected["trials"]:
        assert f"sizes/00{trial['number']}: lr {float(trial['model.optimizer.lr']):.4g}" in rows
    assert float(rows["small v0"]["test top-1 (%)"]) == pytest.approx(100 * expected["test"]["top1"], abs=0.006)


def test_a_sweep_is_continued_with_its_trials(expected, capfd):
    assert exit_status(sweep, ["sizes.yaml"]) == 0
    assert "2 trials, 2 finished before" in capfd.readouterr().out
    assert table(Path("runs/sizes/trials.csv")) == expected["trials"]


def test_a_pack_is_used(expected):
    images = ImageFolderDataModule("data", image_size=16).packed("train").images
    assert images.sum(dtype=np.int64) == expected["pixels"]


@pytest.mark.slow
def test_a_sweep_gets_another_trial(expected, monkeypatch):
    Path("sizes.yaml").write_text(Path("sizes.yaml").read_text().replace("trials: 2", "trials: 3"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert exit_status(sweep, ["sizes.yaml"]) == 0
    found = table(Path("runs/sizes/trials.csv"))
    assert found[:2] == expected["trials"] and [row["state"] for row in found] == ["COMPLETE"] * 3


# Later formats

NEWER = f"has format {FORMAT + 1}, of a later version of this project; this one reads formats up to {FORMAT}. Update"


def test_what_is_written_now_says_its_format(checkpoint):
    assert torch.load(checkpoint, weights_only=True)[FORMAT_KEY] == FORMAT
    assert (FORMATS / f"{FORMAT}.tar.xz").exists(), "make the files of this format: see tests/formats/README.md"


@pytest.mark.parametrize("command", ["fit", "test", "predict"])
def test_a_checkpoint_of_a_later_format_is_refused(run, small, checkpoint, command):
    content = torch.load(checkpoint, weights_only=True)
    # What else it holds may have other names.
    torch.save({FORMAT_KEY: FORMAT + 1, "weights": content["state_dict"]}, checkpoint)
    status, output = run(command, *small, f"--ckpt_path={checkpoint}")
    assert status == 1 and f"{checkpoint} {NEWER}" in output and "Traceback" not in output
    with pytest.raises(UserError, match=f"has format {FORMAT + 1}, of a later version"):
        torch.save(content | {FORMAT_KEY: FORMAT + 1}, checkpoint)
        ImageClassifier.load_from_checkpoint(checkpoint)


def test_a_sweep_of_a_later_format_is_refused(expected, capfd):
    study = optuna.load_study(study_name="sizes", storage="sqlite:///runs/sizes/study.db")
    study.set_user_attr("format", SWEEP_FORMAT + 1)
    assert exit_status(sweep, ["sizes.yaml"]) == 1
    told = f"The sweep sizes in sqlite:///runs/sizes/study.db has format {SWEEP_FORMAT + 1}, of a later version"
    assert told in capfd.readouterr().err
