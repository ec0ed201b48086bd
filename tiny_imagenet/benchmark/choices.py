"""Ablations of the hardware choices: training steps with one of them changed, to see if it is right on this machine."""

import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from tiny_imagenet import hardware
from tiny_imagenet.benchmark.callbacks import DTYPES
from tiny_imagenet.benchmark.timing import Contestant
from tiny_imagenet.models import build_resnet
from tiny_imagenet.optim import parameter_groups

DEFAULT = "default choices"


def contestants(device: torch.device, batch_size: int, size: int = 64) -> dict[str, Contestant]:
    """Steps of ResNet-18 on one resident batch [batch_size, 3, size, size]: as `fit` does them, and variants.

    On a CPU the network has the ImageNet stem; with the small stem the benchmark would take minutes.
    """
    precision = str(hardware.set_up(device.type, None, single_pixels=False))
    default = {"precision": precision, "matmul": torch.get_float32_matmul_precision()}
    other_precision = "32-true" if precision in DTYPES else "bf16-mixed"
    variants: dict[str, dict[str, Any]] = {
        DEFAULT: {},
        "not channels last": {"memory_format": torch.contiguous_format},
        "fused optimizer": {"fused": True},
        f"precision {other_precision}": {"precision": other_precision},
    }
    if device.type == "cuda":
        variants["cudnn.benchmark off"] = {"autotuned": False}
        variants["precision 32-true, TF32 off"] = {"precision": "32-true", "matmul": "highest"}
    if shutil.which("g++"):  # torch.compile needs it, also on GPUs
        variants["compiled"] = {"compiled": True}
    stem = "small" if device.type == "cuda" else "imagenet"
    return {
        name: Contestant(_step(device, batch_size, size, stem, **(default | changes)), untimed=2)
        for name, changes in variants.items()
    }


def _step(
    device: torch.device,
    batch_size: int,
    size: int,
    stem: str,
    precision: str,
    matmul: str,
    memory_format: torch.memory_format = torch.channels_last,
    fused: bool | None = None,
    compiled: bool = False,
    autotuned: bool = True,
) -> Callable[[], int]:
    network = build_resnet("resnet18", 200, stem=stem).to(device, memory_format=memory_format)
    if compiled:
        network.compile()
    optimizer = torch.optim.SGD(parameter_groups(network), lr=0.1, momentum=0.9, nesterov=True, fused=fused)
    images = torch.randn(batch_size, 3, size, size, device=device).to(memory_format=memory_format)
    targets = torch.arange(batch_size, device=device) % 200

    def step() -> int:
        torch.backends.cudnn.benchmark = autotuned
        torch.backends.cudnn.allow_tf32 = matmul != "highest"  # set_float32_matmul_precision leaves convolutions alone
        torch.set_float32_matmul_precision(matmul)
        with torch.autocast(device.type, DTYPES.get(precision), enabled=precision in DTYPES):
            loss = cross_entropy(network(images), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return batch_size

    return step
