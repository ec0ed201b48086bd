"""Random, damaged configs: classes are made from them, or they are refused with a line."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import strategies as st

from tests.helpers.commands import exit_status
from tests.helpers.fuzzing import CHANGE, DAMAGE, changed, damaged, fuzz
from tiny_imagenet.cli import main
from tiny_imagenet.cli.arguments import CONFIGS
from tiny_imagenet.cli.lightning_cli import Cli

# What is changed, below defaults that stay as they are.
NAMES = ("defaults", "quickstart", "resnet50_aug", "photos", "cifar10")
CONTENT = [
    yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()) for name in NAMES if (CONFIGS / f"{name}.yaml").exists()
]


@pytest.mark.slow
@pytest.mark.parametrize("examples", [60])
def test_configs(tmp_path, monkeypatch, capfd, examples):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["training.py"])
    monkeypatch.setattr(Cli, "_run_subcommand", lambda self, subcommand: None)

    def check(content, changes, edits):
        text = yaml.safe_dump(changed(content, changes), allow_unicode=True, sort_keys=False)
        Path("a.yaml").write_bytes(damaged(text.encode(), edits))
        capfd.readouterr()
        status = exit_status(main, ["fit", "--config=a.yaml", "--trainer.accelerator=cpu"])
        told = capfd.readouterr()
        shutil.rmtree("runs", ignore_errors=True)
        if status:
            (error,) = [line for line in told.err.splitlines() if line.startswith("error: ")]
            assert told.err.rstrip().endswith(error) and error.isprintable() and "Traceback" not in told.err
            return error[:40]
        return "read"

    fuzz(check, examples, st.sampled_from(CONTENT), st.lists(CHANGE, min_size=1, max_size=2), st.just([]) | DAMAGE)
