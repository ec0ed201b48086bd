"""Every shipped config is parsed by the real command line, instantiated, and its network built."""

import re

import pytest
import torch
import yaml

from tests.helpers.configs import CONFIG_FILES, OVERLAYS
from tests.helpers.paths import ROOT
from tiny_imagenet.cli.arguments import CONFIGS
from tiny_imagenet.models import build_resnet
from tiny_imagenet.optim import build_scheduler


@pytest.mark.parametrize("config", CONFIG_FILES, ids=str)
def test_config(parsed, config):
    before = [f"--config={OVERLAYS[config.name]}"] if config.name in OVERLAYS else []
    cli = parsed(*before, f"--config={config}")
    model, options = cli.model, cli.model.hparams
    with torch.device("meta"):
        network = build_resnet(
            options.arch,
            10,
            stem=options.stem,
            width=options.width,
            blocks=options.blocks,
            freeze=options.freeze,
            max_parameters=options.max_parameters,
        )
    optimizer = model.optimizer([{"params": list(network.parameters())}])
    assert len(optimizer.param_groups[0]["params"]) == len(list(network.parameters()))
    if model.scheduler is not None:
        schedule = build_scheduler(model.scheduler, optimizer, 100 if options.scheduler_interval == "step" else None)
        rates = []
        for _ in range(100):
            rates.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        rate = optimizer.defaults["lr"]
        assert max(rates) == pytest.approx(rate, rel=1e-3) and rates[-1] < 1e-2 * rate, (
            "it rises to its rate and falls to about 0"
        )


@pytest.mark.parametrize("config", [c for c in CONFIG_FILES if c.name != "defaults.yaml"], ids=str)
def test_config_is_short_and_says_what_it_is(config):
    text = (CONFIGS / config).read_text()
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert len(text.splitlines()) <= 25
    assert any("training.py fit --config" in line and f"--config {config}" in line for line in header)
    assert any("easured" in line for line in header), "the header says what was measured, or that there was no run"
    named = re.findall(r"(?:configs|docs|results)/[\w./-]+\.\w+", text)
    assert not [path for path in named if not (ROOT / path).exists()], "files that a comment names are there"


def test_defaults_are_complete(parsed):
    """defaults.yaml has every option that all data sets share, and every option of the model."""
    defaults = yaml.safe_load((CONFIGS / "defaults.yaml").read_text())
    cli = parsed()
    own = {"root", "archive", "md5", "image_size", "holdout"}  # each data module has its own defaults
    options = cli.config.fit
    assert defaults["data"]["init_args"].keys() == set(vars(options.data.init_args)) - own
    assert defaults["model"].keys() == set(vars(options.model))
    assert defaults["checkpoint"].keys() == set(vars(options.checkpoint))


def test_overlays_change_the_recipe_of_any_experiment(parsed):
    cli = parsed("--config=resnet34_aug.yaml", "--config=published_aug.yaml")
    assert cli.model.hparams.arch == "resnet34"
    assert cli.model.hparams.stem == "imagenet"
    assert cli.datamodule.batch_size == 64
    assert cli.datamodule.pipeline.resize == 250
    assert [type(augmentation).__name__ for augmentation in cli.datamodule.pipeline.augmentations] == [
        "RandomHorizontalFlip",
        "ColorJitter",
    ]
    assert cli.model.scheduler is None
    optimizer = cli.model.optimizer([torch.nn.Parameter(torch.zeros(1))])
    assert (optimizer.defaults["lr"], optimizer.defaults["momentum"], optimizer.defaults["nesterov"]) == (0.1, 0, False)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_baseline_and_augmented_differ_only_in_augmentation(depth):
    baseline, augmented = (
        yaml.safe_load((CONFIGS / f"resnet{depth}_{kind}.yaml").read_text()) for kind in ("baseline", "aug")
    )
    assert baseline == {"model": {"arch": f"resnet{depth}"}}
    assert augmented["model"] == baseline["model"]
    assert augmented["data"]["init_args"].keys() == {"augment"}
