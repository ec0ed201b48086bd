"""Nine minutes of a GPU: how they are divided, tried on a CPU with a small set."""

import re
import time
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from tests.helpers.paths import ROOT
from tests.helpers.runs import write_run
from tiny_imagenet.benchmark import gpu_quick
from tiny_imagenet.benchmark.estimate import Costs
from tiny_imagenet.benchmark.gpu_quick import Countdown, epochs_that_fit, measured_trainings
from tiny_imagenet.benchmark.stages import Training
from tiny_imagenet.report.finding import find_runs

CPU = torch.device("cpu")
MEASURED = {"images_per_s": 1000.0, "images_per_cpu_s": 900.0, "ratio": 0.98, "share_of_peak": 0.5, "gpu_percent": 99.0}


def test_without_a_gpu_one_line_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="^torch finds no usable GPU; check the output of nvidia-smi$"):
        gpu_quick.main(["--archive=missing.zip"])


@pytest.mark.parametrize(
    ("seconds", "rate", "epochs"),
    [
        # 100,000 images, and two views of 10,000 in a third of the time: 106,667 at 10,667 images/s take 10 s.
        (200, 10_666.7, 20),
        (199, 10_666.7, 19),
        (200, 1_066.7, 2),
        (50, 1_066.7, 0),
        (-10, 1_066.7, 0),
    ],
)
def test_as_many_epochs_as_fit(seconds, rate, epochs):
    assert epochs_that_fit(seconds, 100_000, 10_000, rate) == epochs


def test_other_trainings_leave_time_for_the_record(monkeypatch):
    """Of 100 s, 40 are for the record; each training is expected to take 30 + 2.2 x 10 x 0.1 = 32.2 s."""
    now, measured = [0.0], []

    def fit_row(training, options, device):
        now[0] += 30
        measured.append((training.batch_size, "--data.progressive=null" in options))
        return dict(MEASURED)

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(gpu_quick, "fit_row", fit_row)
    planned = [Training(gpu_quick.RECORD, 1, 2, 10, 1.0), *(Training("resnet50_aug", n, 2, 10, 1.0) for n in (2, 3))]
    found = measured_trainings(planned, [], CPU, Costs(0.1, 10.0, 0.001), Countdown(100))
    assert measured == [(1, True)], "27.8 s are left above the record's 40 after the first"
    assert [each.get("failed") for each in found.values()] == [None, *["no time was left for it"] * 2]


def test_the_tests_are_killed_when_their_time_is_up(monkeypatch, tmp_path, capsys):
    (tmp_path / "pytest.py").write_text(
        "import subprocess, sys, pathlib\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "pathlib.Path('child').write_text(str(child.pid))\n"
        "child.wait()\n"
    )
    monkeypatch.setattr(gpu_quick, "TRAINING", tmp_path / "training.py")
    assert gpu_quick.gpu_tests(3) == "not finished in 3 s"
    child = Path(f"/proc/{(tmp_path / 'child').read_text()}/stat")
    assert not child.exists() or child.read_text().split()[2] == "Z"
    (tmp_path / "pytest.py").write_text("print('....'), print('4 passed, 2 skipped in 71.20s')")
    assert gpu_quick.gpu_tests(20) == "4 passed, 2 skipped in 71.20s"
    (tmp_path / "pytest.py").write_text("print('E  assert 1 == 2'), print('=== 1 failed in 3.10s ==='), exit(1)")
    capsys.readouterr()
    assert gpu_quick.gpu_tests(20) == "1 failed in 3.10s"
    assert "E  assert 1 == 2" in capsys.readouterr().out, "what failed is printed"


def test_readme_s_row_and_a_record_that_was_stopped(tmp_path):
    """write_run's val/top1 rises linearly; an epoch takes a minute, and the first a third more."""
    readme = (ROOT / "README.md").read_text()
    columns = next(line for line in readme.splitlines() if line.startswith("| config | data | hardware |"))
    for done, accuracy, stopped in ((5, 50, ""), (3, 30, "; stopped after 3 epochs, before its learning rate was 0")):
        folder = write_run(tmp_path / str(done) / "version_0", epochs=5, done=done, data={"holdout": 0})
        run = find_runs(folder).runs[0]
        row = gpu_quick.readme_row(run, {"device": "NVIDIA H200", "date": "2026-12-01"})
        assert row.count("|") == columns.count("|")
        assert f"| NVIDIA H200 | {done} | {done}.3 | **{accuracy}.0 %** |" in row and row.endswith("| 2026-12-01 |")
        assert gpu_quick.accuracy(run) == (f"{accuracy}.0 % top-1", f"{done} min 20 s of training{stopped}")


def test_a_record_without_time_or_speed_is_not_trained():
    expected = "no time was left for an epoch"
    assert gpu_quick.record_rows(MEASURED, [], (100_000, 10_000), 100)[0]["comparison"] == expected
    (row, text) = gpu_quick.record_rows({"failed": "out of memory"}, [], (128, 48), 100)
    assert (row["what"], row["measured"], row["comparison"], text) == (gpu_quick.RECORD, "failed", "out of memory", "")


def test_a_record_that_fails_has_a_row(monkeypatch, tmp_path, archive, data_root, capsys):
    monkeypatch.setattr(gpu_quick, "gpu_tests", lambda seconds: "4 passed")
    monkeypatch.setattr(gpu_quick, "measured_costs", lambda data, device: Costs(0.1, 1.0, 0.001))
    monkeypatch.setattr(gpu_quick, "fit_row", lambda training, options, device: dict(MEASURED))
    monkeypatch.setattr(gpu_quick.subprocess, "run", lambda command: Namespace(returncode=3))
    options = Namespace(root=str(data_root), archive=str(archive), md5=None, minutes=9, out=tmp_path)
    gpu_quick.measure(options, [], CPU)
    text = (tmp_path / "gpu_quick.md").read_text()
    assert text in capsys.readouterr().out
    assert "| GPU tests | 4 passed |" in text
    assert len(re.findall(r"^\| training: .* \| 1,000 images/s \| 900 \| 0.980 of a bare loop;", text, re.M)) == 5
    # 128 images and two views of 48 at 1,000 images/s take 0.16 s; 527 s are left, without start and end.
    assert re.search(r"^\| records/tiny_resnet18_fast, 32\d\d epochs \| failed \| +\| exit status 3 \|$", text, re.M)


@pytest.fixture
def of_training(small, tmp_path, monkeypatch) -> list[str]:
    """Options for the record with a small network and set, which has 16 steps an epoch."""
    monkeypatch.chdir(tmp_path)
    return [*small, "--data.batch_size=8", "--data.progressive={24: 0, 32: 0.4}"]


@pytest.mark.slow
def test_a_table_and_readme_s_row_are_left(monkeypatch, tmp_path, of_training, archive, data_root):
    monkeypatch.setattr(gpu_quick, "gpu_tests", lambda seconds: "4 passed")
    monkeypatch.setattr(gpu_quick, "measured_costs", lambda data, device: Costs(0.1, 1.0, 0.001))
    monkeypatch.setattr(gpu_quick, "TRAININGS", [(gpu_quick.RECORD, 8), ("resnet50_aug", 8)])
    monkeypatch.setattr(gpu_quick, "epochs_that_fit", lambda *_: 3)
    options = Namespace(root=str(data_root), archive=str(archive), md5=None, minutes=9, out=tmp_path / "out")
    gpu_quick.measure(options, of_training, CPU)
    text = (tmp_path / "out" / "gpu_quick.md").read_text()
    assert (
        len(re.findall(r"^\| training: .*, batch 8 \| [\d,]+ images/s \| [\d,]+ \| \d\.\d+ of a bare", text, re.M)) == 2
    )
    record = r"^\| records/tiny_resnet18_fast, 3 epochs \| [\d.]+ % top-1 \| +\| .* s of training \|$"
    assert re.search(record, text, re.M), text
    assert text.splitlines()[-1].startswith("| [`tiny_resnet18_fast.yaml`](configs/records/tiny_resnet18_fast.yaml) |")
    (run,) = find_runs(tmp_path / "runs").runs
    assert len(run.metrics) == 3 and run.validates_on_test


@pytest.mark.slow
def test_a_record_that_takes_too_long_is_stopped(of_training):
    run = gpu_quick.trained_record([*of_training, "--name", "short"], epochs=100_000, seconds=5)
    assert 1 <= run.results["epochs"] < 1000
    assert "stopped after" in gpu_quick.accuracy(run)[1]
