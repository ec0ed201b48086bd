"""Weights to start from: what is loaded, what is replaced, what is refused."""

import logging
import os
from urllib.error import URLError

import pytest
import torch
import torchvision

from tests.helpers.networks import small
from tiny_imagenet.errors import UserError
from tiny_imagenet.models import build_resnet, load_weights


@pytest.fixture
def source() -> dict[str, torch.Tensor]:
    """The state of a trained narrow network with 5 classes and the ImageNet stem."""
    torch.manual_seed(1)
    return {key: value + 1 for key, value in small().state_dict().items()}


def bare(state):
    return state


def checkpoint(state):
    return {"state_dict": {f"network.{key}": value for key, value in state.items()}, "epoch": 3}


def compiled_checkpoint(state):
    return {"state_dict": {f"network._orig_mod.{key}": value for key, value in state.items()}}


def without_counters(state):
    return {key: value for key, value in state.items() if "num_batches" not in key}


@pytest.mark.parametrize("form", [bare, checkpoint, compiled_checkpoint, without_counters])
def test_weights_of_a_file(tmp_path, source, form):
    torch.save(form(source), tmp_path / "weights.pt")
    loaded = small(weights=str(tmp_path / "weights.pt")).state_dict()
    expected = without_counters(source)
    assert all(loaded[key].equal(value) for key, value in expected.items())


def test_head_and_stem_that_do_not_fit_are_replaced(tmp_path, source, caplog):
    torch.save(source, tmp_path / "weights.pt")
    torch.manual_seed(2)
    fresh = small(classes=6, stem="small").state_dict()
    torch.manual_seed(2)
    with caplog.at_level(logging.INFO):
        loaded = small(classes=6, stem="small", weights=str(tmp_path / "weights.pt")).state_dict()
    for key, value in loaded.items():
        assert value.equal(fresh[key] if key.startswith(("conv1", "fc")) else source[key]), key
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "loaded 39 of 41 layers" in record.message
    assert "conv1 (weight is [8, 3, 7, 7], not [8, 3, 3, 3])" in record.message
    assert "fc (weight is [5, 64], not [6, 64]; bias is [5], not [6])" in record.message


def test_report_tells_why_and_warns(tmp_path, source, caplog):
    torch.save(source | {"extra.weight": torch.zeros(1), "layer2.0.conv1.bias": torch.zeros(16)}, tmp_path / "w.pt")
    network = small(blocks=[2, 2, 2, 3])
    report = load_weights(network, str(tmp_path / "w.pt"), "resnet18")
    assert report.kept.pop("layer2.0.conv1") == "has weight, bias"
    assert report.kept == {f"layer4.2.{layer}": "missing" for layer in ("conv1", "bn1", "conv2", "bn2")}
    assert report.unused == ["extra"]
    assert set(report.loaded) >= {"conv1", "bn1", "fc", "layer1.0.conv1"}
    with caplog.at_level(logging.INFO):
        small(blocks=[2, 2, 2, 3], weights=str(tmp_path / "w.pt"), freeze=["layer1", "layer4"])
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "stay random: layer4." in caplog.messages[1]


def test_nothing_that_fits_is_an_error(tmp_path, source):
    # A bias of the right length without its weight, and counters without their statistics, do not count.
    torch.save(source, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"nothing in .*weights.pt fits.*conv1: weight is \[8, 3, 7, 7\]"):
        small(width=0.25, weights=str(tmp_path / "weights.pt"))


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_weights_that_run_code_are_refused(tmp_path):
    torch.save({"conv1.weight": Attack(tmp_path / "executed")}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"weights.pt could not be read.*that could run code is refused"):
        small(weights=str(tmp_path / "weights.pt"))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04" + bytes(50)])
def test_unreadable_file(tmp_path, content):
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(UserError, match="weights.pt could not be read"):
        small(weights=str(tmp_path / "weights.pt"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, source, value):
    source["layer3.0.bn1.running_var"][5] = value
    torch.save(source, tmp_path / "weights.pt")
    with pytest.raises(
        UserError, match=r"weights.pt can't be used: its state_dict.layer3.0.bn1.running_var must be fin"
    ):
        small(weights=str(tmp_path / "weights.pt"))


def test_weights_that_torch_wrote_before_zip_files(tmp_path, source):
    torch.save(source, tmp_path / "weights.pt", _use_new_zipfile_serialization=False)
    assert small(weights=str(tmp_path / "weights.pt")).state_dict()["fc.weight"].equal(source["fc.weight"])


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"state_dict": 3}, {"epoch": 3}, {0: torch.zeros(1)}])
def test_file_without_weights(tmp_path, content):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(UserError, match="neither a state dict nor a checkpoint"):
        small(weights=str(tmp_path / "weights.pt"))


def test_unknown_weights_list_those_of_the_arch():
    with pytest.raises(UserError, match="'IMAGENET1K_V3'.*resnet50: IMAGENET1K_V1, IMAGENET1K_V2"):
        small("resnet50", weights="IMAGENET1K_V3")


@pytest.mark.parametrize("name", ["IMAGENET1K_V1", "DEFAULT", "ResNet18_Weights.IMAGENET1K_V1"])
def test_weights_by_torchvisions_name_come_from_torch_home(tmp_path, monkeypatch, name):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    theirs = torchvision.models.resnet18().state_dict()
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    file = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    torch.save(without_counters(theirs), folder / file)
    network = build_resnet("resnet18", 200, stem="small", weights=name)
    kept = {key for key, value in network.state_dict().items() if not value.equal(theirs[key])}
    assert kept == {"conv1.weight", "fc.weight", "fc.bias"}


def test_failed_download_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    with pytest.raises(UserError, match=r"no route to host.*put it at .*resnet18-f37072fd.pth"):
        build_resnet("resnet18", 200, weights="DEFAULT")
    assert not list(tmp_path.rglob("*.pth"))
