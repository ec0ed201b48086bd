"""The notebooks: stored without outputs, and run from top to bottom."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
import torchvision
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

from tests.helpers.paths import ROOT
from tests.helpers.runs import write_run, write_studies
from tiny_imagenet.data.augment import Augmentation

NOTEBOOKS = ROOT / "notebooks"
AUGMENTATIONS = [kind for kind in Augmentation.__subclasses__() if kind.__module__.startswith("tiny_imagenet.")]


def execute(name: str, folder: Path = NOTEBOOKS) -> nbformat.NotebookNode:
    """Run a notebook in a new kernel with the working directory `folder`; the file does not change."""
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def texts(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") + "\n" for output in outputs)


def pictures(notebook: nbformat.NotebookNode) -> int:
    return sum("image/png" in o.get("data", {}) for cell in notebook.cells for o in cell.get("outputs", []))


def code(name: str) -> list[str]:
    return [cell.source for cell in nbformat.read(NOTEBOOKS / name, as_version=4).cells if cell.cell_type == "code"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """One thread per kernel: such small networks and images gain nothing from more."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_stored_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.parametrize(
    "folder", [NOTEBOOKS, pytest.param(NOTEBOOKS.parent, marks=pytest.mark.slow)], ids=["in notebooks", "in the root"]
)
def test_evaluation(tmp_path, monkeypatch, folder):
    write_run(tmp_path / "runs/resnet18_aug/version_0", top1=0.5, tested=True)
    write_run(tmp_path / "runs/resnet50_aug/version_0", model={"arch": "resnet50"}, top1=0.6, tested=True)
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    notebook = execute("evaluation.ipynb", folder)
    assert "resnet50_aug: test top-1 59.00 %, top-5 79.00 %" in texts(notebook)
    # Two figures of curves, the classes, their examples, the confused pairs.
    assert pictures(notebook) == 5


def explored(monkeypatch, root: Path, data: str, **options) -> nbformat.NotebookNode:
    monkeypatch.setenv("DATA", data)
    monkeypatch.setenv("DATA_ROOT", str(root))
    monkeypatch.setenv("DATA_OPTIONS", json.dumps(options))
    return execute("explore_data.ipynb")


def test_explore_data(tmp_path, monkeypatch):
    notebook = explored(monkeypatch, tmp_path, "SyntheticDataModule", train_per_class=20)
    shown = texts(notebook)
    assert "SyntheticDataModule: 10 classes, 64x64 pixels" in shown
    # 20 images per class, a tenth of them held out; a quarter as many test images.
    for figure in ("min", "max"):
        assert re.search(rf"^{figure} +18\.0 +2\.0 +5\.0$", shown, re.M)
    assert len(AUGMENTATIONS) >= 6
    for kind in AUGMENTATIONS:
        assert re.search(rf"^{kind.__name__}: .*\. [1-8] of 8 draws differ from the original", shown, re.M), kind
    fractions = [tuple(map(int, pair)) for pair in re.findall(r"(\d+) % \+ (\d+) %", shown)]
    assert len(fractions) == 2 * 8
    assert all(99 <= one + other <= 101 for one, other in fractions)
    assert len(set(fractions)) > 8, "each draw is new"
    assert "resnet50_aug.yaml: RandomCrop(size=None, padding=8," in shown
    # Samples, class counts, pixel values, augmentations, mixing, the recipe.
    assert pictures(notebook) == 6


@pytest.mark.slow
def test_explore_a_folder_of_classes(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 40, 30, 3), np.uint8)
    for name, images in zip(("ant", "bee", "cat"), pixels, strict=True):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / "set" / name / f"{number}.png")
    notebook = explored(monkeypatch, tmp_path / "set", "ImageFolderDataModule", image_size=24, resize=40, holdout=3)
    assert "ImageFolderDataModule: 3 classes, 40x40 pixels" in texts(notebook)
    # The random crop of `resize` is left out; with it, every draw would differ from the original.
    assert re.search(r"^RandomHorizontalFlip: .* [1-7] of 8 draws differ", texts(notebook), re.M)
    assert pictures(notebook) == 6


def test_experiments(tmp_path, monkeypatch):
    write_studies(tmp_path / "runs")
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    notebook = execute("experiments.ipynb")
    shown = texts(notebook)
    assert "skipped killed/version_0: no metrics.csv" in shown
    assert "26 of 26 runs" in shown
    ten = next(cell for cell in notebook.cells if "ten_models_table" in cell.source)
    html = "".join(output.get("data", {}).get("text/html", "") for output in ten.outputs)
    assert "resnet50 46.00 45.00 42.20 54.00 53.50" in " ".join(re.sub("<[^>]+>", " ", html).split())
    for study in ("architectures", "batch size", "learning rate", "optimizer"):
        assert f"{study}: all other settings are the same" in shown
    assert re.findall("No runs here.*", shown) == [
        "No runs here that differ in their scheduler.",
        "No runs here that differ in their planned epochs.",
    ]
    # Curves and panels, two grids, batch sizes, learning rates, two each for optimizers, shapes and condition numbers.
    assert pictures(notebook) == 12


def test_experiments_say_what_is_missing(tmp_path, monkeypatch):
    for name in ("resnet18_baseline", "resnet18_aug"):
        write_run(tmp_path / name / "version_0", model={"arch": "resnet18"}, epochs=1)
    monkeypatch.setenv("RUNS", str(tmp_path))
    monkeypatch.setenv("SELECT", "_aug$")
    notebook = execute("experiments.ipynb")
    assert "1 of 2 runs: resnet18_aug" in texts(notebook)
    missing = re.findall("No runs here.*", texts(notebook))
    assert len(missing) == 9, missing  # architectures, other studies, two numbers, four choices, condition numbers
    assert pictures(notebook) == 1


TRAINING = (
    "--data SyntheticDataModule --data.train_per_class 20 --data.batch_size 20 --data.image_size 32 "
    "--model.weights {weights} --model.arch resnet18 --trainer.max_epochs 1 --trainer.accelerator cpu"
)


def test_transfer(tmp_path, monkeypatch):
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "weights.pt")
    monkeypatch.setenv("FOLDER", str(tmp_path))
    monkeypatch.setenv("OPTIONS", TRAINING.format(weights=tmp_path / "weights.pt"))
    notebook = execute("transfer.ipynb")
    shown = texts(notebook)
    assert "to install: nothing" in shown
    assert "loaded 40 of 41 layers; initialised anew: fc" in shown
    assert "epoch 1/1 | train loss" in shown, "the output of training is shown"
    run = tmp_path / "runs" / "resnet50_transfer" / "version_0"
    tested = json.loads((run / "test_metrics.json").read_text())
    assert f"{run}: test top-1 {100 * tested['top1']:.2f} %" in shown
    assert re.search(rf"^test top-1 \(%\) +{100 * tested['top1']:.2f}$", shown, re.M)
    assert re.search(r"^published top-1 \(%\) +52\.90$", shown, re.M)
    assert "horizontal stripes" in shown
    # Two figures of curves, the classes, their examples, the pairs.
    assert pictures(notebook) == 5


@pytest.mark.slow
def test_transfer_stops_where_training_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("FOLDER", str(tmp_path))
    monkeypatch.setenv("OPTIONS", TRAINING.format(weights=tmp_path / "missing.pt"))
    with pytest.raises(CellExecutionError, match="training.py fit ended with status 1") as failed:
        execute("transfer.ipynb")
    assert "missing.pt" in str(failed.value)


def test_transfer_outside_the_project_needs_its_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPOSITORY", raising=False)
    with pytest.raises(SystemExit, match="set REPOSITORY to its address"):
        exec(code("transfer.ipynb")[0], {})
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_transfer_clones_the_project_once(tmp_path, monkeypatch):
    origin, colab = tmp_path / "origin", tmp_path / "colab"
    origin.mkdir()
    colab.mkdir()
    (origin / "training.py").write_text("")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "All"]):
        subprocess.run([*git, *command], cwd=origin, check=True)
    monkeypatch.chdir(colab)
    monkeypatch.setenv("REPOSITORY", origin.as_uri())
    for _ in range(2):
        found: dict = {}
        exec(code("transfer.ipynb")[0], found)
        assert found["ROOT"] == found["FOLDER"]
        assert found["ROOT"].parent == colab
        assert (found["ROOT"] / "training.py").is_file()
        shutil.rmtree(origin, ignore_errors=True)  # the second time, it is not needed


@pytest.mark.parametrize("met", [True, False])
def test_transfer_installs_only_missing_packages(tmp_path, met):
    lines = [
        "# To run",
        "torch>=2,<3",
        *([] if met else ["no-such-package>=1", "numpy>=99"]),
        "# Development: tests",
        "ruff>=99",
    ]
    (tmp_path / "requirements.txt").write_text("\n".join(lines))
    calls: list[list[str]] = []
    install = SimpleNamespace(run=lambda command, check: calls.append(command))
    exec(code("transfer.ipynb")[1], {"ROOT": tmp_path, "sys": SimpleNamespace(executable="py"), "subprocess": install})
    assert calls == ([] if met else [["py", "-m", "pip", "install", "--quiet", "no-such-package>=1", "numpy>=99"]])
