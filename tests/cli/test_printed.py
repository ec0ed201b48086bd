"""Printed commands run as printed."""

import os
import shlex
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT
from tiny_imagenet.cli.printed import module_command, tool_command, training_command


@pytest.mark.parametrize("folder", [".", "configs", "/tmp"])
def test_a_training_command_runs_from_where_it_is_printed(folder, monkeypatch):
    monkeypatch.chdir(ROOT / folder)
    done = subprocess.run(training_command("list", "configs"), shell=True, capture_output=True, text=True)
    assert done.returncode == 0 and "quickstart.yaml" in done.stdout, done.stderr


@pytest.mark.parametrize("folder", [".", "/tmp"])
def test_a_module_runs_from_where_it_is_printed(folder, monkeypatch):
    monkeypatch.chdir(ROOT / folder)
    done = subprocess.run(module_command("tiny_imagenet.report", "--help"), shell=True, capture_output=True, text=True)
    assert done.returncode == 0 and "tiny_imagenet.report" in done.stdout, done.stderr


def test_a_module_of_a_package_that_is_not_installed_is_found_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site" / "tiny_imagenet-1.dist-info").mkdir(parents=True)
    (tmp_path / "site" / "tiny_imagenet-1.dist-info" / "METADATA").write_text("Name: tiny-imagenet\n")
    monkeypatch.setattr(sys, "path", [str(ROOT)])
    assert module_command("tiny_imagenet.report").startswith(f"PYTHONPATH={shlex.quote(str(ROOT))} ")
    monkeypatch.setattr(sys, "path", [str(ROOT), str(tmp_path / "site")])
    assert "PYTHONPATH" not in module_command("tiny_imagenet.report")


def test_names_with_spaces_are_quoted_and_python_is_short_where_it_is_the_one_that_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    python = shlex.split(training_command("test", "a b"))[0]
    assert os.path.abspath(python) == sys.executable, "another environment's python comes first"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert training_command("test", "a b") == "python training.py test 'a b'"


def test_a_tool_of_an_environment_that_is_not_activated_is_named_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "tensorboard").touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    assert tool_command("tensorboard", ["--logdir", "runs"]) == "bin/tensorboard --logdir runs"
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert tool_command("tensorboard", ["--logdir", "runs"]) == "tensorboard --logdir runs"


def test_a_python_without_the_packages_says_how_to_get_them():
    code = "import sys; sys.modules['torch'] = None; from tiny_imagenet.cli import main; main(['fit'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"error: {sys.executable} lacks the package torch. Activate" in done.stderr
