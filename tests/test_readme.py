"""The README's commands are accepted, and the files and configs that it names exist."""

import io
import re
import shlex
from contextlib import redirect_stdout

import pytest
from PIL import Image

from tests.helpers.paths import ROOT
from tests.helpers.tables import table
from tiny_imagenet.cli.arguments import CONFIGS
from tiny_imagenet.sweep.definition import read_sweep

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
def test_a_fit_is_accepted(command, parsed):
    argv = shlex.split(command)[3:]
    if "--trainer.devices" in argv:  # the number of devices of the machine in the README
        argv += ["--trainer.devices", "2", "--trainer.accelerator", "cpu"]
    assert parsed(*argv).model.hparams.arch.startswith("resnet")


@pytest.mark.parametrize("command", [command for command in COMMANDS if "-m tiny_imagenet.sweep" in command])
def test_a_sweep_is_accepted(command, parsed):
    sweep = read_sweep(shlex.split(command)[3:])
    assert parsed(*sweep.arguments(sweep.points()[-1])).model.hparams.arch.startswith("resnet")


@pytest.fixture
def finished_resnet50(finished, small):
    """A run like the README's ResNet-50, but with a small ResNet-18."""
    return finished("--config=resnet50_aug.yaml", *small, "--model.arch=resnet18")


def test_the_python_predicts_like_the_command(tmp_path, run, finished_resnet50):
    (program,) = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
    (tmp_path / "photos").mkdir()
    Image.effect_mandelbrot((60, 50), (-2, -1, 1, 1), 50).save(tmp_path / "photos" / "cat.jpg")
    checkpoint = re.search(r'"(runs/\S+\.ckpt)"', program)[1]
    assert run("predict", f"--ckpt_path={checkpoint}", "--data.images=photos")[0] == 0
    (row,) = table(finished_resnet50 / "predictions.csv")
    with redirect_stdout(io.StringIO()) as printed:
        exec(program, {})
    name, _, probability = printed.getvalue().strip().rpartition(" ")
    assert name == row["name1"] and float(probability) == pytest.approx(float(row["p1"]), abs=1e-5)


@pytest.mark.parametrize("command", [command for command in COMMANDS if "--ckpt_path runs/" in command])
def test_an_evaluation_takes_its_config_from_the_run(command, tmp_path, run, finished_resnet50):
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
