"""Other packages: where they are installed, they do the same work; where they are not, they are named."""

from argparse import Namespace

import pytest
import torch

from tiny_imagenet.benchmark import alternatives

CPU = torch.device("cpu")


@pytest.fixture
def packages(monkeypatch):
    """Pretend that these are installed, and no others."""

    def packages(**versions: str) -> None:
        found = [Namespace(name=name, version=version) for name, version in versions.items()]
        monkeypatch.setattr(alternatives, "distributions", lambda: found)
        alternatives.installed.cache_clear()

    yield packages
    alternatives.installed.cache_clear()


def test_what_is_not_installed_is_named(packages):
    packages(numpy="2.4", timm="1.0.31", kornia_rs="0.2.0", nvidia_dali_cuda120="2.4.0")
    assert alternatives.installed() == {"nvidia-dali": "2.4.0", "timm": "1.0.31"}
    assert alternatives.not_installed() == "ffcv, kornia"
    packages(timm="1.0.31", kornia="0.9.0", ffcv="1.0.2", nvidia_dali_cuda130="2.4.0")
    assert alternatives.not_installed() == ""


def test_a_package_that_does_not_work_is_left_out(packages, data, tmp_path, monkeypatch, capsys):
    packages(kornia="0.9.0", ffcv="1.0.2")

    def broken(*_) -> None:
        raise ImportError("libopencv_core.so: cannot open shared object file")

    monkeypatch.setattr(alternatives, "_ffcv", broken)
    monkeypatch.setattr(alternatives, "_kornia", lambda *_: "a contestant")
    found = alternatives.pipelines(data, 8, 1, CPU, tmp_path)
    assert found == {"kornia, batch already on the device": "a contestant"}
    error = "FFCV, from its own file failed: ImportError: libopencv_core.so: cannot open shared object file\n"
    assert capsys.readouterr().err == error


@pytest.mark.parametrize("package", ["ffcv", "nvidia-dali", "kornia"])
def test_pipelines_yield_whole_batches(package, data, tmp_path):
    if package not in alternatives.installed():
        pytest.skip(f"not installed: {package}")
    found = alternatives.pipelines(data, 8, 1, CPU, tmp_path)
    (name,) = (name for name in found if package.split("-")[-1] in name.lower())
    assert [found[name].step() for _ in range(20)] == [8] * 20, "of several epochs"


def test_timm_trains_the_network_of_a_bare_step(data):
    if "timm" not in alternatives.installed():
        pytest.skip("not installed: timm")
    from timm.models import create_model

    from tiny_imagenet.models import build_resnet

    shapes = [tuple(each.shape) for each in create_model("resnet18", num_classes=200).parameters()]
    assert shapes == [tuple(each.shape) for each in build_resnet("resnet18", 200, stem="imagenet").parameters()]
    (training,) = alternatives.trainings(data, 8, 0, CPU).values()
    assert training.step() == 8
