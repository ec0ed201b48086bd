"""The condition numbers of a network's weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def condition_numbers(weights: Mapping[str, Tensor]) -> dict[str, float]:
    """σmax / σmin of each weight; `inf` if it is rank-deficient.

    A weight counts as rank-deficient by the rule of numpy.linalg.matrix_rank for float32: σmin ≤ σmax · max(M, N) · ε
    with ε = 2⁻²³. Above that, the eigenvalues σ² of the float64 Gram matrix are exact to 3e-4 or better, and
    several times faster to compute than singular values. A weight with NaN or infinity has the condition number NaN.

    Args:
        weights: matrices [M, N]; convolutions [out, in, kh, kw], as [out, in·kh·kw]; or stacks of matrices [G, M, N],
            as the blocks of a block-diagonal matrix, which has the singular values of all blocks.
    """
    return {name: _condition_number(weight) for name, weight in weights.items()}


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """The weight of every convolution and linear layer, by the name of the layer.

    In a convolution of G groups each sees only its own input channels: its weight is [G, out/G, in/G·kh·kw].
    """
    weights = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight.detach()
            groups = getattr(module, "groups", 1)
            weights[name] = weight if groups == 1 else weight.flatten(1).unflatten(0, (groups, -1))
    return weights


def _condition_number(weight: Tensor) -> float:
    if weight.ndim == 4:
        weight = weight.flatten(1)
    rows, columns = weight.shape[-2:]
    # Apple's GPUs have no float64.
    matrix = (weight.cpu() if weight.device.type == "mps" else weight).double()
    gram = matrix @ matrix.mT if rows <= columns else matrix.mT @ matrix
    if not gram.isfinite().all():
        return float("nan")
    # Rounding may make a zero negative.
    eigenvalues = torch.linalg.eigvalsh(gram).clamp(min=0)
    smallest, largest = eigenvalues.min().sqrt().item(), eigenvalues.max().sqrt().item()
    blocks = weight.shape[0] if weight.ndim == 3 else 1
    tolerance = largest * blocks * max(rows, columns) * torch.finfo(torch.float32).eps
    return float("inf") if smallest <= tolerance else largest / smallest
