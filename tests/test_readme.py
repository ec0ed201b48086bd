"""The README's commands are ones that the project understands, and its tables name what is there."""

import re
import shlex
import sys

import pytest
from PIL import Image

from tests.conftest import ROOT
from tiny_imagenet.cli import Cli
from tiny_imagenet.commands import CONFIGS, plan

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"^```\n(.*?)^```", README, re.M | re.S)
    for line in block.splitlines()
    if line.startswith(("python ", "make "))
]
FITS = [command for command in COMMANDS if command.startswith("python training.py fit")]


def test_there_are_commands():
    assert len(FITS) >= 5
    assert {"make quickstart", "make test"} <= set(COMMANDS)


@pytest.mark.parametrize("command", FITS)
def test_a_fit_is_understood(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["training.py"])
    monkeypatch.setattr(Cli, "_run_subcommand", lambda self, subcommand: None)
    argv = shlex.split(command)[2:]
    if "--trainer.devices" in argv:  # as many as the machine that the README speaks of has
        argv += ["--trainer.devices", "2", "--trainer.accelerator", "cpu"]
    cli = Cli(plan(argv))
    assert cli.model.hparams.arch.startswith("resnet")


@pytest.mark.parametrize("command", [command for command in COMMANDS if "--ckpt_path runs/" in command])
def test_an_evaluation_takes_its_config_from_the_run(command, tmp_path, monkeypatch, run, small):
    assert run("fit", "--config=resnet50_aug.yaml", *small, "--trainer.max_epochs=1", "--model.arch=resnet18")[0] == 0
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 30), "red").save(tmp_path / "photos" / "red.png")
    status, output = run(*shlex.split(command)[2:])
    assert status == 0, output


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for command in COMMANDS:
        if command.startswith("make "):
            assert re.search(rf"^{command.split()[1]}:", makefile, re.M), command


def test_files_named_in_links_exist():
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link


def test_configs_named_exist():
    for name in re.findall(r"(?<![\w}])(\w+\.yaml)\b", README):
        if name not in ("config.yaml", "best.yaml"):
            assert list(CONFIGS.rglob(name)), name
