"""Muon for convolutions: updates with nearly equal singular values."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from tiny_imagenet.errors import UserError
from tiny_imagenet.hardware import computes_in_bf16

# Coefficients of the quintic x → a·x + b·x³ + c·x⁵ (https://kellerjordan.github.io/posts/muon/).
A, B, C = 3.4445, -4.7750, 2.0315


class MuonSGD(SGD):
    """Muon (https://kellerjordan.github.io/posts/muon/) for convolutions, and SGD for everything else.

    The momentum of a kernel, as a matrix [out, in · height · width], is replaced by a matrix with the same singular
    vectors and nearly equal singular values, so that an update also follows directions that are rare in gradients.
    Each step first scales the kernel to the norm √out, instead of weight decay (as in
    https://github.com/KellerJordan/cifar10-airbench): if a normalisation follows, the kernel's norm has no effect, and
    `lr` is about the relative size of an update. Do not freeze such a normalisation while its convolution is trained.

    The cost of a step does not depend on the batch, so it matters less with a larger one: for ResNet-18 at full width
    31 billion multiplications, as many as training on five images of 64×64 with the small stem.

    Own code, since torch.optim.Muon takes only matrices, not kernels, and needs a second optimizer for the other
    parameters, which Lightning's automatic optimization does not support.

    Args:
        params: parameters or groups of parameters.
        lr: size of a kernel's update relative to the kernel; the update is a little smaller if few directions dominate.
        momentum, nesterov: as in SGD, for all parameters.
        weight_decay: of parameters other than kernels.
        sgd_lr_ratio: learning rate of parameters other than kernels, as a multiple of `lr`.
        iterations: of Newton-Schulz, which equalises the singular values.

    Raises:
        UserError: sgd_lr_ratio is negative, or iterations less than 1.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 0.05,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        nesterov: bool = True,
        sgd_lr_ratio: float = 1.0,
        iterations: int = 3,
    ) -> None:
        if sgd_lr_ratio < 0 or iterations < 1:
            raise UserError(
                "MuonSGD needs sgd_lr_ratio of at least 0 and iterations of at least 1, not "
                f"sgd_lr_ratio={sgd_lr_ratio} and iterations={iterations}."
            )
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)
        options = {"sgd_lr_ratio": sgd_lr_ratio, "iterations": iterations}
        self.defaults.update(options)
        for group in self.param_groups:
            group.update({**options, **group})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of all parameters. Returns the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        rates = [group["lr"] for group in self.param_groups]
        gradients = {}
        for group, rate in zip(self.param_groups, rates, strict=True):
            kernels = [p for p in group["params"] if p.ndim == 4 and p.grad is not None]
            self._step_kernels(kernels, group)
            # SGD skips parameters without a gradient.
            for kernel in kernels:
                gradients[kernel], kernel.grad = kernel.grad, None
            group["lr"] = rate * group["sgd_lr_ratio"]
        super().step()
        for group, rate in zip(self.param_groups, rates, strict=True):
            group["lr"] = rate
        for kernel, gradient in gradients.items():
            kernel.grad = gradient
        return loss

    def _step_kernels(self, kernels: list[nn.Parameter], group: dict[str, Any]) -> None:
        by_shape = defaultdict(list)  # one batched product per shape: fewer launches on a GPU
        for kernel in kernels:
            by_shape[kernel.shape].append(kernel)
        for (out, *fan_in), same in by_shape.items():
            matrices = torch.stack([self._direction(kernel, group).flatten(1) for kernel in same])
            directions = even_out(matrices, group["iterations"]).view(len(same), out, *fan_in)
            # A matrix with fewer columns than rows has fewer singular values, and so a smaller norm.
            scale = math.sqrt(max(1, out / math.prod(fan_in)))
            for kernel, direction in zip(same, directions, strict=True):
                kernel.mul_(math.sqrt(out) / kernel.norm().clamp_min(1e-12))
                kernel.add_(direction, alpha=-group["lr"] * scale)

    def _direction(self, kernel: nn.Parameter, group: dict[str, Any]) -> Tensor:
        state, momentum = self.state[kernel], group["momentum"]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(kernel.grad)
        buffer = state["momentum_buffer"].mul_(momentum).add_(kernel.grad)
        return kernel.grad.add(buffer, alpha=momentum) if group["nesterov"] else buffer


def even_out(matrices: Tensor, iterations: int) -> Tensor:
    """Bring singular values close to 1, and keep singular vectors.

    After five iterations, values that were at least a hundredth of the matrix's norm are between 0.6 and 1.3. Each
    iteration multiplies small ones by 3.4.

    Args:
        matrices: [N, rows, columns].

    Returns:
        [N, rows, columns] in bf16, which is precise enough, if the device computes in it; otherwise in float32.
    """
    wide = matrices.shape[1] <= matrices.shape[2]
    dtype = torch.bfloat16 if computes_in_bf16(matrices.device.type) else torch.float32
    x = (matrices if wide else matrices.mT).to(dtype).contiguous()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
    return (x if wide else x.mT).contiguous()
