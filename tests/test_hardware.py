"""The choices for each device."""

import platform
import subprocess
import sys

import pytest
import torch
import yaml

from tiny_imagenet.errors import UserError
from tiny_imagenet.hardware import set_up
from tiny_imagenet.models import REDUCTION, build_resnet


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx2": True}, "32-true"),
        ({"avx2": True, "avx512_bf16": True, "amx_bf16": False}, "bf16-mixed"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bf16-mixed"),
        ({"avx512_bf16": True, "amx_bf16": False, "cpu_name": "AMD EPYC"}, "bf16-mixed"),
        ({"avx512_bf16": True, "amx_bf16": False, "cpu_name": "Intel Xeon"}, "32-true"),
        ({"avx512_bf16": True, "amx_bf16": True, "cpu_name": "Intel Xeon"}, "bf16-mixed"),
        ({}, "32-true"),
    ],
)
def test_a_cpu_trains_in_bf16_if_that_is_faster(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert set_up("cpu", None, single_pixels=False) == expected
    assert set_up("cpu", "32-true", single_pixels=False) == "32-true", "the user's choice comes first"
    assert set_up("cpu", None, single_pixels=True) == "32-true"
    with pytest.raises(UserError, match="gives wrong gradients"):
        set_up("cpu", "bf16-mixed", single_pixels=True)


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16-mixed"), (False, "16-mixed")])
def test_a_gpu(monkeypatch, supported, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    before = torch.get_float32_matmul_precision()
    try:
        assert set_up("auto", None, single_pixels=True) == expected
        assert torch.backends.cudnn.benchmark
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("stem", REDUCTION)
def test_what_single_pixels_are(stem):
    """The size of the last stage's input, measured with the network."""
    network, seen = build_resnet("resnet18", 10, stem=stem, width=0.125).eval(), []
    network.layer4.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[-1]))
    for side in (REDUCTION[stem], REDUCTION[stem] + 1):
        network(torch.zeros(1, 3, side, side))
    assert seen == [1, 2]


def test_small_images_train_in_32_bits_on_a_cpu_that_computes_in_bf16(run, small, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    options = ["--data.image_size=32", "--trainer.precision=null", "--trainer.max_epochs=1"]
    for sides, expected in (("null", "bf16-mixed"), ('{"16": 0, "32": 0.5}', "32-true")):
        status, output = run("fit", *small, *options, f"--data.progressive={sides}")
        assert status == 0, output
        version = 0 if sides == "null" else 1
        config = yaml.safe_load((tmp_path / f"runs/defaults/version_{version}/config.yaml").read_text())
        assert config["trainer"]["precision"] == expected
    # On a machine without bf16, the first run resumes in its precision.
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    last = tmp_path / "runs/defaults/version_0/checkpoints/last.ckpt"
    status, output = run("fit", *small, *options, "--trainer.max_epochs=2", f"--ckpt_path={last}")
    assert status == 0, output
    assert "precision" not in output
    resumed = yaml.safe_load((tmp_path / "runs/defaults/version_0/config.yaml").read_text())
    assert resumed["trainer"]["precision"] == "bf16-mixed"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is for glibc")
@pytest.mark.parametrize(("prepare", "kept"), [("", False), ("keep_freed_memory()", True)])
def test_freed_memory_is_kept_for_the_next_tensors(prepare, kept):
    program = f"""
import resource
import torch
from tiny_imagenet.hardware import keep_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

{prepare}
tensor = torch.ones(64 << 20, dtype=torch.uint8)
before = resident()
del tensor
print(before - resident())
"""
    # In another process, because the setting cannot be undone.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (int(done.stdout) < 4 << 20) == kept
