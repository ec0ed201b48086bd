"""A simulated GPU: its tensors have shapes, types and a device, but no values.

Operations that mix devices raise, waits for the GPU can be detected (see `tests.helpers.watching`), and Lightning,
autocast and this project take the same branches as on a GPU. Nothing is computed: values that are read are constants,
and gradients are zero. Streams, fused optimizers and compiled code are not simulated.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

CUDA: dict[str, Any] = {
    "is_available": lambda: True,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "set_device": lambda device: None,
    "get_device_name": lambda *device: "a pretended GPU",
    "get_device_capability": lambda *device: (9, 0),
    "is_bf16_supported": lambda *arguments, **options: True,
    "manual_seed": lambda seed: None,
    "manual_seed_all": lambda seed: None,
    "empty_cache": lambda: None,
    "synchronize": lambda *device: None,
    "max_memory_allocated": lambda *device: 2**20,
    "reset_peak_memory_stats": lambda *device: None,
    "is_current_stream_capturing": lambda: False,
    "_lazy_init": lambda: None,
}


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """Within the context, this machine has a device `cuda`."""
    with ExitStack() as stack:
        # A training sets these for its device; they are restored.
        for choice in ("benchmark", "allow_tf32"):
            stack.callback(setattr, torch.backends.cudnn, choice, getattr(torch.backends.cudnn, choice))
        stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
        for name, stand_in in CUDA.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, stand_in))
        stack.enter_context(mock.patch.object(Tensor, "pin_memory", _pin))
        stack.enter_context(mock.patch.object(Tensor, "backward", _zero_gradients))
        # Called at the end of a training; tensors without values cannot move to the CPU.
        stack.enter_context(mock.patch.object(torch.nn.Module, "cpu", lambda self: self))
        stack.enter_context(mock.patch.object(fake_tensor, "init_gpu_context", lambda device: None))
        stack.enter_context(mock.patch.object(torch, "load", _load(torch.load)))
        stack.enter_context(_WithoutDriver(allow_non_fake_inputs=True))
        stack.enter_context(_OnlyOnTheGpu())
        yield


class _WithoutDriver(FakeTensorMode):
    avoid_device_init = True  # or it would call torch.cuda.is_available


class _OnlyOnTheGpu(TorchDispatchMode):
    """Simulates operations on the GPU, and computes all others."""

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple = (), options: dict[str, Any] | None = None
    ) -> Any:
        options = options or {}
        if not any(_is_on_gpu(leaf) for leaf in tree_leaves((arguments, options))):
            with unset_fake_temporarily():
                return function(*arguments, **options)
        if function.namespace == "aten":
            with self:  # Operations on tensors made in inference mode arrive undecomposed.
                composed = function.decompose(*arguments, **options)
            if composed is not NotImplemented:
                return composed
        if function is torch.ops.aten._local_scalar_dense.default:
            # True for a check of finiteness; -1 equals no step that was recorded.
            return True if arguments[0].dtype == torch.bool else 0.5 if arguments[0].is_floating_point() else -1
        return tree_map_only(FakeTensor, _as_read, function(*arguments, **options))


def _is_on_gpu(leaf: Any) -> bool:
    return isinstance(leaf, FakeTensor) or (isinstance(leaf, torch.device) and leaf.type == "cuda")


def _as_read(result: FakeTensor) -> Tensor:
    if result.device.type != "cpu":
        return result
    with unset_fake_temporarily():
        return torch.zeros(result.shape, dtype=result.dtype)


def _load(load: Callable[..., Any]) -> Callable[..., Any]:
    """torch.load outside the simulation, in which loaded tensors would have no values."""

    def with_values(*arguments: Any, **options: Any) -> Any:
        with unset_fake_temporarily():
            return load(*arguments, **options)

    return with_values


def _pin(tensor: Tensor, *device: Any) -> Tensor:
    tensor.pinned = True
    return tensor


def _zero_gradients(loss: Tensor, *arguments: Any, **options: Any) -> None:
    # In place of torch's engine, which asks the driver for the device.
    seen, left = set(), [loss.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            node.variable.grad = torch.zeros_like(node.variable)
        left += [following for following, _ in node.next_functions]
