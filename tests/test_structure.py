"""Imports go one way, the report and sweeps do not import torch, and no test imports another."""

import ast
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

PACKAGE, TESTS = ROOT / "tiny_imagenet", ROOT / "tests"

# Each part may import only parts of a lower level, none of its own level.
LEVELS = [
    {"errors"},
    {"files"},
    {"progress"},
    {"hardware", "run"},
    {"threads"},
    {"data", "models", "optim", "report"},
    {"callbacks", "classifier"},
    {"cli"},
    {"benchmark", "export", "sweep"},
]
LEVEL = {part: number for number, parts in enumerate(LEVELS) for part in parts}


def part_of(module: str) -> str:
    return module.removeprefix("tiny_imagenet.").split(".")[0]


def imports():
    """All (importing part, imported part, file) within the package."""
    for path in PACKAGE.rglob("*.py"):
        importer = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if importer == "__main__":
            continue  # python -m tiny_imagenet, above everything
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.startswith("tiny_imagenet."):
                        yield importer, part_of(alias.name), path
            elif isinstance(node, ast.ImportFrom) and node.level:
                raise AssertionError(f"{path}: relative imports are not checked; import tiny_imagenet.X")
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tiny_imagenet."):
                yield importer, part_of(node.module), path
            elif isinstance(node, ast.ImportFrom) and node.module == "tiny_imagenet":
                for alias in node.names:
                    yield importer, alias.name, path


def test_imports_go_one_way():
    found = list(imports())
    assert found
    for importer, imported, path in found:
        if importer != imported and importer != "__init__":
            assert LEVEL[imported] < LEVEL[importer], f"{path} imports {imported}"


def test_the_command_line_does_not_import_what_few_trainings_need():
    code = "import sys, tiny_imagenet.cli.app; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent).returncode == 0


@pytest.mark.parametrize(
    "module", ["tiny_imagenet.report", "tiny_imagenet.report.__main__", "tiny_imagenet.sweep.__main__"]
)
def test_report_and_sweep_import_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent).returncode == 0


def test_no_test_imports_another():
    """Code that tests share is in tests.helpers."""
    tests, imported = {path.stem for path in TESTS.rglob("test_*.py")}, {}
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name: path for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported |= {f"{node.module or ''}.{alias.name}": path for alias in node.names}
    assert "tests.helpers.paths.ROOT" in imported, "imports are found"
    for name, path in imported.items():
        assert not tests & set(name.split(".")), f"{path} imports {name}"
