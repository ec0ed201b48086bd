"""Muon against singular values and the algorithm by NumPy, interrupted, scheduled, and what it leaves to SGD."""

import copy
import io
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR

from tiny_imagenet.errors import UserError
from tiny_imagenet.optim import Lookahead, MuonSGD, parameter_groups
from tiny_imagenet.optim.muon import even_out

WIDE, TALL = (8, 3, 3, 3), (64, 4, 1, 1)  # kernels as matrices 8 x 27 and 64 x 4


def convolutions() -> nn.Sequential:
    """Two kernels of one shape and one of another, with norms and a head."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip


def train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: range, schedule=None) -> list[float]:
    losses = []
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(16, 3, 9, 9, generator=generator)
        targets = (images[:, 0].mean(dim=(1, 2)) > 0).long()
        loss = nn.functional.cross_entropy(network(images), targets)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
    return losses


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (6, 6), (1, 7)])
def test_singular_values_become_equal_and_directions_stay(shape):
    torch.manual_seed(0)
    matrices = torch.randn(3, *shape) * torch.tensor([1e-3, 1.0, 1e3]).view(3, 1, 1)
    for matrix, result in zip(matrices.double().numpy(), even_out(matrices, 5).double().numpy(), strict=True):
        left, _, right = np.linalg.svd(matrix, full_matrices=False)
        in_its_directions = left.T @ result @ right.T
        values = np.diag(in_its_directions)
        assert 0.6 < values.min() and values.max() < 1.3
        assert np.abs(in_its_directions - np.diag(values)).max() < 0.05, "bf16 has 8 bits"


def newton_schulz(matrix: np.ndarray, iterations: int) -> np.ndarray:
    """By the singular values, each of which the iteration changes alone."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values = values / np.linalg.norm(values)
    for _ in range(iterations):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left @ np.diag(values) @ right


@pytest.mark.parametrize("shape", [WIDE, TALL])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("iterations", [1, 3])
def test_steps_of_a_kernel_are_those_of_the_algorithm(shape, nesterov, iterations):
    rng = np.random.default_rng(0)
    kernel = nn.Parameter(torch.from_numpy(rng.normal(size=shape)))
    optimizer = MuonSGD([kernel], lr=0.1, momentum=0.8, nesterov=nesterov, iterations=iterations)
    expected, velocity = kernel.detach().numpy().copy(), 0.0
    rows, columns = shape[0], np.prod(shape[1:])
    for step in range(4):
        gradient = rng.normal(size=shape)
        kernel.grad = torch.from_numpy(gradient)
        optimizer.step()
        velocity = 0.8 * velocity + gradient
        direction = gradient + 0.8 * velocity if nesterov else velocity
        expected *= rows**0.5 / np.linalg.norm(expected)
        scale = 0.1 * max(1, rows / columns) ** 0.5
        expected -= scale * newton_schulz(direction.reshape(rows, columns), iterations).reshape(shape)
        # bf16 has 8 bits of each step.
        np.testing.assert_allclose(kernel.detach().numpy(), expected, atol=scale * (step + 1) / 2**6)
    assert kernel.grad.equal(torch.from_numpy(gradient)), "whoever looks at gradients afterwards finds them"


@pytest.mark.parametrize("shape", [WIDE, TALL])
def test_the_rate_is_the_size_of_a_step_relative_to_the_kernel(shape):
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(shape))
    optimizer = MuonSGD([kernel], lr=0.02, momentum=0.0, nesterov=False, iterations=5)
    kernel.grad = torch.zeros(shape)
    optimizer.step()  # only brings it to its size
    before = kernel.detach().clone()
    kernel.grad = torch.randn(shape)
    optimizer.step()
    assert ((kernel.detach() - before).norm() / before.norm()).item() == pytest.approx(0.02, rel=0.2)


def test_everything_but_kernels_is_left_to_sgd():
    torch.manual_seed(0)
    values = [torch.randn(5), torch.randn(3, 4)]
    gradients = [[torch.randn_like(value) for value in values] for _ in range(3)]

    def stepped(make) -> list[Tensor]:
        parameters = [nn.Parameter(value.clone()) for value in values]
        optimizer = make([{"params": parameters[1:]}, {"params": parameters[:1], "weight_decay": 0.0}])
        for each in gradients:
            for parameter, gradient in zip(parameters, each, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
        return parameters

    options = {"lr": 0.3, "momentum": 0.8, "weight_decay": 0.1, "nesterov": True}
    for ours, theirs in zip(stepped(partial(MuonSGD, **options)), stepped(partial(SGD, **options)), strict=True):
        assert ours.equal(theirs)


def test_kernels_without_gradient_stay():
    frozen, moving = (nn.Parameter(torch.ones(WIDE)) for _ in range(2))
    optimizer = MuonSGD([frozen, moving], lr=0.1)
    moving.grad = torch.ones(WIDE)
    optimizer.step()
    assert frozen.equal(torch.ones(WIDE)) and frozen not in optimizer.state
    assert not moving.equal(torch.ones(WIDE))


@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "in Lookahead"])
@pytest.mark.parametrize("interrupted", [1, 4])
def test_muon_resumes_to_the_bit(wrapped, interrupted):
    make = partial(MuonSGD, lr=0.1, weight_decay=0.01)

    def start():
        network = convolutions()
        groups = parameter_groups(network)
        optimizer = Lookahead(groups, make, k=3) if wrapped else make(groups)
        return network, optimizer, OneCycleLR(optimizer, max_lr=0.1, total_steps=8)

    whole, *others = start()
    train(whole, others[0], range(8), others[1])
    first, *stopped = start()
    train(first, stopped[0], range(interrupted), stopped[1])
    second, *resumed = start()
    for after, before in zip([second, *resumed], [first, *stopped], strict=True):
        buffer = io.BytesIO()
        torch.save(before.state_dict(), buffer)
        buffer.seek(0)
        after.load_state_dict(torch.load(buffer, weights_only=True))
    train(second, resumed[0], range(interrupted, 8), resumed[1])
    for ours, theirs in zip(second.state_dict().values(), whole.state_dict().values(), strict=True):
        assert ours.equal(theirs)


def test_a_closure_is_called_once_with_gradients():
    kernel = nn.Parameter(torch.randn(WIDE))
    optimizer, calls = MuonSGD([kernel], lr=0.1), []

    def closure():
        calls.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = kernel.square().sum()
        loss.backward()
        return loss

    expected = kernel.detach().square().sum()
    assert optimizer.step(closure).equal(expected) and calls == [True]


def test_kernels_alone_learn():
    network = convolutions()
    losses = train(network, MuonSGD(parameter_groups(network), lr=0.05, sgd_lr_ratio=0.0), range(60))
    assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:10])


@pytest.mark.parametrize("wrong", [{"sgd_lr_ratio": -1.0}, {"iterations": 0}], ids=str)
def test_impossible_options_are_refused(wrong):
    with pytest.raises(UserError, match="sgd_lr_ratio of at least 0 and iterations of at least 1"):
        MuonSGD([nn.Parameter(torch.ones(WIDE))], **wrong)


@pytest.mark.parametrize(("computes", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bf16_is_used_where_the_cpu_computes_in_it(monkeypatch, computes, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": computes})
    assert even_out(torch.eye(3)[None], 1).dtype == dtype


def test_a_copy_is_whole():
    network = convolutions()
    optimizer = MuonSGD(parameter_groups(network), lr=0.1, sgd_lr_ratio=3.0, iterations=1)
    train(network, optimizer, range(2))
    copied, copied_optimizer = copy.deepcopy((network, optimizer))
    for each, its_optimizer in ((network, optimizer), (copied, copied_optimizer)):
        train(each, its_optimizer, range(2, 4))
    for ours, theirs in zip(copied.parameters(), network.parameters(), strict=True):
        assert ours.equal(theirs)


def test_the_ratio_is_of_everything_but_kernels():
    kernels, biases = ([nn.Parameter(torch.ones(shape)) for _ in range(2)] for shape in (WIDE, (5,)))
    for kernel, bias, options in zip(kernels, biases, [{"lr": 0.1, "sgd_lr_ratio": 4.0}, {"lr": 0.1}], strict=True):
        kernel.grad, bias.grad = torch.ones(WIDE), torch.ones(5)
        optimizer = MuonSGD([kernel, bias], **options)
        optimizer.step()
        assert optimizer.param_groups[0]["lr"] == 0.1
    assert kernels[0].equal(kernels[1])
    torch.testing.assert_close(1 - biases[0], 4 * (1 - biases[1]))
