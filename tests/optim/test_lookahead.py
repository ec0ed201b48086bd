"""Lookahead against the paper's algorithm by hand, interrupted, scheduled, scaled, and under Lightning."""

import copy
import io
from collections.abc import Callable, Iterable
from functools import partial

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from tiny_imagenet.errors import UserError
from tiny_imagenet.optim import Lookahead, build_scheduler, parameter_groups

TARGET = np.array([1.0, -2.0, 0.5])


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def descend(optimizer: Optimizer, weights: nn.Parameter, steps: int, schedule: LRScheduler | None = None) -> None:
    """Steps on half the squared distance to TARGET, whose gradient is `weights - TARGET`."""
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * (weights - torch.from_numpy(TARGET)).square().sum()).backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()


@pytest.mark.parametrize(("k", "alpha"), [(5, 0.5), (3, 0.8), (1, 0.25), (4, 1.0)])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_lookahead_is_the_algorithm_of_the_paper(k, alpha, momentum):
    weights = parameter(0.0, 0.0, 0.0)
    descend(Lookahead([weights], partial(SGD, lr=0.1, momentum=momentum), k=k, alpha=alpha), weights, 13)

    slow, velocity = np.zeros(3), np.zeros(3)
    fast = slow
    for step in range(1, 14):
        velocity = momentum * velocity + (fast - TARGET)
        fast = fast - 0.1 * velocity
        if step % k == 0:
            slow = slow + alpha * (fast - slow)
            fast = slow
    np.testing.assert_allclose(weights.detach().numpy(), fast, rtol=1e-12)


def test_schedules_act_on_the_inner_optimizer():
    """OneCycleLR moves learning rate and momentum; the loop by hand takes both from the formula of a plain SGD's."""
    weights = parameter(0.0, 0.0, 0.0)
    optimizer = Lookahead([weights], partial(SGD, lr=0.1, momentum=0.9), k=3)
    descend(optimizer, weights, 10, OneCycleLR(optimizer, max_lr=0.5, total_steps=10))

    plain = SGD([parameter(0.0)], lr=0.1, momentum=0.9)
    schedule = OneCycleLR(plain, max_lr=0.5, total_steps=10)
    slow, velocity = np.zeros(3), np.zeros(3)
    fast = slow
    for step in range(1, 11):
        velocity = plain.param_groups[0]["momentum"] * velocity + (fast - TARGET)
        fast = fast - plain.param_groups[0]["lr"] * velocity
        if step % 3 == 0:
            slow = fast = slow + 0.5 * (fast - slow)
        plain.step()
        schedule.step()
    np.testing.assert_allclose(weights.detach().numpy(), fast, rtol=1e-12)


def saved_and_loaded(state: dict) -> dict:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def assert_same_state(optimizer: Optimizer, other: Optimizer) -> None:
    ours, theirs = optimizer.state_dict(), other.state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    torch.testing.assert_close(ours["state"], theirs["state"], rtol=0, atol=0)


@pytest.mark.parametrize("inner", [partial(SGD, lr=0.1, momentum=0.9, nesterov=True), partial(AdamW, lr=0.1)])
@pytest.mark.parametrize("interrupted", [0, 1, 5, 6, 11])
def test_lookahead_resumes_to_the_bit(inner, interrupted):
    def start() -> tuple[nn.Parameter, Optimizer, LRScheduler]:
        weights = parameter(0.3, 0.2, 0.1)
        optimizer = Lookahead([weights], inner, k=3, alpha=0.7)
        return weights, optimizer, OneCycleLR(optimizer, max_lr=0.5, total_steps=12)

    whole, optimizer, schedule = start()
    descend(optimizer, whole, 12, schedule)
    first, *stopped = start()
    descend(stopped[0], first, interrupted, stopped[1])
    second, *resumed = start()
    second.data.copy_(first.data)
    for after, before in zip(resumed, stopped, strict=True):
        after.load_state_dict(saved_and_loaded(before.state_dict()))
    descend(resumed[0], second, 12 - interrupted, resumed[1])
    assert second.equal(whole)
    assert_same_state(resumed[0], optimizer)


def test_a_copy_of_lookahead_is_whole():
    weights = parameter(0.0, 0.0, 0.0)
    optimizer = Lookahead([weights], partial(AdamW, lr=0.1), k=3)
    descend(optimizer, weights, 4)
    copied = copy.deepcopy(optimizer)
    copy_of_weights = copied.param_groups[0]["params"][0]
    descend(copied, copy_of_weights, 4)
    assert not copy_of_weights.equal(weights)
    descend(optimizer, weights, 4)
    assert copy_of_weights.equal(weights)


def test_slow_weights_start_from_weights_set_after_construction():
    weights = parameter(0.0, 0.0, 0.0)
    optimizer = Lookahead([weights], partial(SGD, lr=0.5), k=1)
    weights.data.copy_(torch.from_numpy(TARGET + 4))
    descend(optimizer, weights, 1)
    np.testing.assert_allclose(weights.detach().numpy(), TARGET + 3)  # half of the way from +4 to +2


@pytest.mark.parametrize("inner", [partial(AdamW, lr=0.1, weight_decay=0.0), partial(SGD, lr=0.1, momentum=0.9)])
def test_a_parameter_that_gets_its_first_gradient_late(inner):
    early, late = parameter(0.0, 0.0, 0.0), parameter(0.0, 0.0, 0.0)
    optimizer = Lookahead([early, late], inner, k=2)
    descend(optimizer, early, 2)
    assert late.equal(torch.zeros(3))
    descend(optimizer, late, 4)
    alone = parameter(0.0, 0.0, 0.0)
    descend(Lookahead([alone], inner, k=2), alone, 4)
    assert late.equal(alone)


def test_groups_added_later_are_stepped_and_synchronised():
    first, second = parameter(0.0, 0.0, 0.0), parameter(0.0, 0.0, 0.0)
    optimizer = Lookahead([first], partial(SGD, lr=0.5), k=2)
    optimizer.add_param_group({"params": [second], "lr": 0.25})
    descend(optimizer, second, 2)
    np.testing.assert_allclose(second.detach().numpy(), 0.5 * (1 - 0.75**2) * TARGET)


def test_closure_has_gradients_and_its_loss_is_returned():
    weights = parameter(3.0)
    optimizer = Lookahead([weights], partial(SGD, lr=0.5), k=2)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weights.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 9.0
    assert weights.item() == 0.0


def test_a_step_that_the_gradient_scaler_skips_does_not_count():
    weights = nn.Parameter(torch.ones(2))
    optimizer = Lookahead([weights], partial(SGD, lr=0.5), k=2)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    for factor in (1.0, float("inf"), 1.0):
        optimizer.zero_grad()
        scaler.scale((factor * weights).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    # Two steps of 0.5 from 1 to 0, and half of the way back.
    assert weights.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("options", [{"k": 0}, {"alpha": 0.0}, {"alpha": 1.5}])
def test_lookahead_refuses(options):
    with pytest.raises(UserError, match="Lookahead needs k of at least 1"):
        Lookahead([parameter(0.0)], partial(SGD, lr=0.1), **options)


LOOKAHEAD = """
  class_path: tiny_imagenet.optim.Lookahead
  init_args:
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.1, momentum: 0.9, weight_decay: 0.01}}
    k: 4
    alpha: 0.25
"""


def optimizer_from_yaml(text: str) -> Callable[[Iterable], Optimizer]:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--optimizer", type=Callable[[Iterable], Optimizer])
    return parser.instantiate(parser.parse_string(f"optimizer: {text}")).optimizer


def test_lookahead_from_a_config():
    optimizer = optimizer_from_yaml(LOOKAHEAD)(parameter_groups(nn.Linear(3, 2)))
    assert isinstance(optimizer, Lookahead) and isinstance(optimizer.optimizer, SGD)
    options = ["lookahead_k", "lookahead_alpha", "lr", "momentum", "weight_decay"]
    assert [[group[name] for name in options] for group in optimizer.param_groups] == [
        [4, 0.25, 0.1, 0.9, 0.01],
        [4, 0.25, 0.1, 0.9, 0.0],
    ]


class Regression(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        return self.network(batch[0]).sub(batch[0].sum(1, keepdim=True)).square().mean()

    def configure_optimizers(self) -> dict:
        optimizer = optimizer_from_yaml(LOOKAHEAD)(parameter_groups(self.network))
        schedule = build_scheduler(partial(OneCycleLR, max_lr=0.05), optimizer, 10)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_lookahead_trains_and_resumes_under_lightning(tmp_path, precision):
    images = torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images), batch_size=16)

    def fit(epochs: int, checkpoint: str | None = None) -> tuple[Regression, pl.Trainer]:
        trainer = pl.Trainer(
            accelerator="cpu",
            precision=precision,
            max_epochs=epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        module = Regression()
        trainer.fit(module, loader, ckpt_path=checkpoint)
        return module, trainer

    whole, trainer = fit(2)
    loss = whole.training_step([images], 0)
    assert loss < 0.9 * Regression().training_step([images], 0)
    # Five steps with k = 4: interrupted one step into a cycle.
    _, interrupted = fit(1)
    interrupted.save_checkpoint(tmp_path / "half.ckpt")
    resumed, second = fit(2, str(tmp_path / "half.ckpt"))
    assert all(a.equal(b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert_same_state(second.optimizers[0], trainer.optimizers[0])
