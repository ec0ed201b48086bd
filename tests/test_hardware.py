"""What is chosen for which device."""

import pytest
import torch

from tiny_imagenet.hardware import set_up


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx2": True}, "32-true"),
        ({"avx2": True, "avx512_bf16": True, "amx_bf16": False}, "bf16-mixed"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bf16-mixed"),
        ({}, "32-true"),
    ],
)
def test_a_cpu_trains_in_bf16_where_it_computes_in_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert set_up("cpu", None) == expected
    assert set_up("cpu", "32-true") == "32-true", "what the user asks for comes first"


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16-mixed"), (False, "16-mixed")])
def test_a_gpu(monkeypatch, supported, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    before = torch.get_float32_matmul_precision()
    try:
        assert set_up("auto", None) == expected
        assert torch.backends.cudnn.benchmark
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
