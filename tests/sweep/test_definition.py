"""Sweep files: mistakes in them, and those that are shipped."""

from pathlib import Path

import pytest
import torch

from tests.helpers.sweeping import enter, sweep, write_sweep
from tiny_imagenet.cli.arguments import CONFIGS
from tiny_imagenet.errors import UserError
from tiny_imagenet.sweep.definition import read_sweep


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    return enter(tmp_path, monkeypatch)


@pytest.mark.parametrize("keys, message", [
    ({"serach": {}}, "no key 'serach'. Did you mean search"),
    ({"search": {}}, "search: is empty"),
    ({"search": {"model.width": [0.5]}, "config": "resnet81_aug.yaml"}, "no config 'resnet81_aug.yaml'"),
    ({"search": {"config": ["resnet18_agu.yaml"]}}, "no config 'resnet18_agu.yaml'"),
    ({"search": {"model.width": {"low": 0.5, "hihg": 1.0}}}, "no 'hihg'. Did you mean high"),
    ({"search": {"model.width": {"low": 1, "high": 0.5}}, "trials": 3}, "low < high"),
    ({"search": {"model.width": {"low": 0, "high": 0.5, "log": True}}, "trials": 3}, "with log low > 0"),
    ({"search": {"model.width": {"low": 0.5, "high": 1}}}, "needs trials"),
    ({"search": {"model.width": [0.5]}, "trials": 3}, "belongs to ranges"),
    ({"search": {"model.optimizer": [{"class_path": "torch.optim.SGD"}]}}, "need names"),
    ({"search": {"model.width": [0.5]}, "direction": "up"}, "maximize or minimize"),
    ({"search": {"model.width": [0.5]}, "pruner": {"class_path": "optuna.pruners.Median"}}, "optuna.pruners.Median"),
    ({"search": {"model.width": [0.5]}, "storage": "nosql://x"}, "storage: nosql://x cannot be opened"),
])  # fmt: skip
def test_mistakes_in_the_file(folder, keys, message):
    status = sweep(write_sweep(**keys))
    assert str(status).startswith("error: ") and message in status
    assert not Path("starts.txt").exists()


def test_sweep_files_are_found_by_name(folder):
    assert read_sweep(["batch_size"]).name == read_sweep(["configs/sweeps/batch_size.yaml"]).name == "batch_size"
    with pytest.raises(UserError, match="batch_size.yaml"):
        read_sweep(["batchsize.yaml"])


def test_overlay_on_each_of_the_configs_searched(folder):
    ten = read_sweep(["resnets.yaml", "--config", "published_aug.yaml"])
    assert ten.arguments(ten.points()[0]) == ["--config=resnet18_baseline.yaml", "--config=published_aug.yaml"]


SWEEPS = sorted((CONFIGS / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_shipped_sweep_is_understood_by_the_command_line(path, parsed):
    text = path.read_text()
    assert len(text.splitlines()) <= 25
    assert f"tiny_imagenet.sweep {path.name}" in text and "Measured:" in text
    shipped = read_sweep([path.name])
    points = shipped.points() if shipped.is_grid else [{"model.width": 0.25, "model.blocks": "[2, 1, 1, 1]"}]
    # Configs are themselves tested with all others.
    for point in points[::9] if "config" in shipped.search or path.stem == "learning_rate" else points:
        model = parsed(*shipped.arguments(point)).model
        optimizer = model.optimizer([torch.nn.Parameter(torch.zeros(1))])
        if path.stem == "learning_rate":
            assert optimizer.defaults["lr"] == float(point["model.optimizer.init_args.lr"])
        if path.stem == "optimizers":
            assert ("lookahead_k" in optimizer.defaults) == ("lookahead" in point["model.optimizer"])
            assert ("betas" in optimizer.defaults) == ("adam" in point["model.optimizer"])
            rate, decay = (optimizer.defaults[name] for name in ("lr", "weight_decay"))
            assert (rate, decay) == (0.001 if "adam" in point["model.optimizer"] else 0.1, 5e-4)


def test_ten_model_sweep_has_every_depth_both_ways():
    points = [point["config"] for point in read_sweep(["resnets.yaml"]).points()]
    assert set(points) == {f"resnet{n}_{kind}.yaml" for n in (18, 34, 50, 101, 152) for kind in ("baseline", "aug")}
