"""The notebooks: kept without outputs, and run from top to bottom."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from runs_fixture import write_run

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


def execute(name: str, folder: Path = NOTEBOOKS) -> nbformat.NotebookNode:
    """Run a notebook in a fresh kernel whose working directory is `folder`; the file is left as it is."""
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def texts(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in outputs)


def pictures(notebook: nbformat.NotebookNode) -> int:
    return sum("image/png" in o.get("data", {}) for cell in notebook.cells for o in cell.get("outputs", []))


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_kept_without_outputs(path):
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
    # Two figures of curves, the classes, their examples, the pairs.
    assert pictures(notebook) == 5
