"""Pages of help and of lists."""

import re
import subprocess
import sys
from typing import get_args

import pytest

from tests.helpers.paths import ROOT
from tiny_imagenet.cli import pages
from tiny_imagenet.cli.arguments import COMMANDS, CONFIGS
from tiny_imagenet.models import Stem, known_archs


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["help"]])
def test_the_front_page_names_all_commands_and_fits_a_screen(run, argv):
    status, output = run(*argv)
    assert status == 0 and len(output.splitlines()) <= 24
    assert all(command in output for command in (*COMMANDS, "list")) and str(CONFIGS) in output


def test_the_package_runs_as_a_module_and_help_imports_no_torch():
    code = (
        "import sys, runpy; sys.argv = ['tiny_imagenet']; runpy.run_module('tiny_imagenet', run_name='__main__'); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "usage: " in done.stdout, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_needs_nothing_else(run, command):
    status, output = run(command, "--help")
    assert status == 0 and pages.WHAT[command] in output and "--help-all" in output
    assert max(len(line) for line in output.splitlines() if line.startswith("  ")) <= 80


VALUES = {"--config": "resnet18_aug.yaml", "--name": "x", "--trainer.max_epochs": "3", "--trainer.devices": "1",
          "--trainer.precision": "32-true", "--seed_everything": "1", "--data": "CIFAR10DataModule", "--data.root": "d",
          "--data.archive": "a.zip", "--data.batch_size": "8", "--data.image_size": "32", "--data.classes": "3",
          "--data.holdout": "0.1", "--data.augment+": "RandomErasing", "--data.mix": "{mixup: 0.2, cutmix: 1.0}",
          "--data.balance": "loss", "--data.num_workers": "0", "--data.on_bad_images": "skip",
          "--model.arch": "resnet34", "--model.weights": "DEFAULT", "--model.stem": "half",
          "--model.width": "0.5", "--model.freeze": "[conv1,bn1,layer1]", "--model.optimizer": "AdamW",
          "--model.optimizer.lr": "0.1", "--model.scheduler": "null", "--model.label_smoothing": "0.1",
          "--model.compile": "true"}  # fmt: skip


def test_each_option_on_the_page_of_fit_exists(parsed):
    shown = [option.removesuffix("=CLASS") for options in pages.FIT.values() for option, *_ in options if option]
    assert set(shown) == {*VALUES, "--ckpt_path"}
    for option, value in VALUES.items():
        parsed(f"{option}={value}")


def test_the_page_of_fit_names_every_stem(run):
    _, output = run("fit", "--help")
    (line,) = [line for line in output.splitlines() if "--model.stem" in line]
    assert sorted(re.findall(r"\w+", line.partition(" S ")[2].partition("(")[0])) == sorted([*get_args(Stem), "or"])


def test_each_option_of_evaluation_exists(run, trained):
    values = {"--data.batch_size": "8", "--model.tta": "true", "--model.tta_shift": "1", "--trainer.accelerator": "cpu"}
    options = pages.EVALUATION["Run"]
    assert {option for option, *_ in options} == {*values, "--ckpt_path"}
    status, output = run("test", f"--ckpt_path={trained}", *(f"{option}={value}" for option, value in values.items()))
    assert status == 0, output


@pytest.mark.parametrize(
    ("kind", "some"),
    [
        ("configs", ["resnet50_aug.yaml", "sweeps/batch_size.yaml"]),
        ("augmentations", ["RandomCrop", "TrivialAugmentWide"]),
        ("optimizers", ["SGD", "Lookahead"]),
        ("schedulers", ["WarmupCosine", "StepLR"]),
        ("archs", known_archs()),
    ],
)
def test_lists(run, kind, some):
    status, output = run("list", kind)
    names = [line.split()[0] for line in output.splitlines()]
    assert status == 0 and set(some) <= set(names) and len(names) == len(set(names))
    assert kind == "archs" or all(len(line.split()) > 1 for line in output.splitlines()), "each says what it is"


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["fitt"], "no command 'fitt'. Did you mean fit?"),
        (["--config", "x", "fit"], "The command comes first"),
        (["list"], "Choose from: configs, augmentations"),
        (["list", "augmentation"], "Did you mean augmentations?"),
    ],
)
def test_what_is_not_understood(run, argv, told):
    status, output = run(*argv)
    assert status == 2 and told in output


def test_the_full_help_and_that_of_a_class_are_jsonargparse_s(run):
    status, output = run("test", "--help-all")
    assert status == 0 and "--trainer.accelerator" in output and "--data.help" in output
    status, output = run("fit", "--data.help", "CIFAR10DataModule")
    assert status == 0 and "--data.holdout" in output
    status, output = run("fit", "--data.augment.help")
    assert status == 0 and "RandomErasing" in output and "--data.augment.help CLASS" in output


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("--lr=0.1", "Use --model.optimizer.lr"),
        ("--epochs=3", "Use --trainer.max_epochs"),
        ("--batch-size=3", "Use --data.batch_size"),
        ("--gpus=2", "Use --trainer.devices"),
        ("--workers=2", "Use --data.num_workers"),
        ("--pretrained", "Use --model.weights DEFAULT"),
        ("--img-size=32", "Use --data.image_size"),
        ("--resume=true", "Use --ckpt_path last"),
        ("--model=resnet18", "model cannot be 'resnet18'. Set its options, such as --model.arch NAME."),
        ("--data.augment=RandAugment", "add one: --data.augment+=torchvision.transforms.v2.RandAugment"),
    ],
)
def test_words_of_other_tools_get_a_hint(run, typed, told):
    status, output = run("fit", typed)
    assert status == 2 and told in output and len(output.splitlines()) == 1, output
