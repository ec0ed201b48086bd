"""Schedules against arithmetic by hand and across interruptions, and how they are built."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LRSchedulerCallable
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau, StepLR

from tiny_imagenet.errors import UserError
from tiny_imagenet.optim import WarmupCosine, build_scheduler


def from_yaml(text: str, type_: object) -> Callable:
    """What jsonargparse makes of an option of this type."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--option", type=type_)
    return parser.instantiate(parser.parse_string(f"option: {text}")).option


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def sgd(lr: float = 0.1) -> SGD:
    return SGD([parameter(0.0)], lr=lr)


# WarmupCosine


def rates(schedule: LRScheduler, steps: int) -> list[float]:
    values = []
    for _ in range(steps):
        values.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.optimizer.step()
        schedule.step()
    return values


HALF = 0.5**0.5


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"warmup": 0, "total_steps": 4}, [1, (1 + HALF) / 2, 0.5, (1 - HALF) / 2, 0, 0, 0]),
        ({"warmup": 2, "total_steps": 6}, [1 / 3, 2 / 3, 1, (1 + HALF) / 2, 0.5, (1 - HALF) / 2, 0, 0]),
        ({"warmup": 0.5, "total_steps": 4}, [1 / 3, 2 / 3, 1, 0.5, 0, 0]),
        ({"warmup": 0, "total_steps": 2, "min_lr_ratio": 0.2}, [1, 0.6, 0.2, 0.2]),
        ({"warmup": 1.0, "total_steps": 2}, [1 / 3, 2 / 3, 1, 1]),
        ({"warmup": 8, "total_steps": 2}, [1 / 9, 2 / 9, 3 / 9, 3 / 9]),
        ({"warmup": 0.05, "total_steps": 1}, [1, 0, 0]),
        ({"warmup": 0.05, "total_steps": 0}, [1, 1]),
    ],
)
def test_warmup_cosine_by_hand(options, expected):
    assert rates(WarmupCosine(sgd(lr=0.4), **options), len(expected)) == pytest.approx([0.4 * f for f in expected])


def test_warmup_cosine_scales_each_group():
    optimizer = SGD([{"params": [parameter(0.0)], "lr": 1.0}, {"params": [parameter(0.0)], "lr": 0.1}])
    schedule = WarmupCosine(optimizer, warmup=3, total_steps=10)
    assert schedule.get_last_lr() == pytest.approx([0.25, 0.025])


@pytest.mark.parametrize("interrupted", [0, 1, 3, 8, 12])
def test_warmup_cosine_resumes(interrupted):
    options = {"warmup": 3, "total_steps": 10, "min_lr_ratio": 0.01}
    whole = rates(WarmupCosine(sgd(), **options), 15)
    first = WarmupCosine(sgd(), **options)
    rates(first, interrupted)
    second = WarmupCosine(sgd(), **options)
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()
    assert rates(second, 15 - interrupted) == whole[interrupted:]


def test_a_longer_training_follows_its_own_curve():
    first = WarmupCosine(sgd(), warmup=0, total_steps=5)
    rates(first, 5)
    second = WarmupCosine(sgd(), warmup=0, total_steps=10)
    second.load_state_dict(first.state_dict())
    second.optimizer.step()
    second.step()
    assert second.get_last_lr() == pytest.approx([0.1 * (1 + np.cos(np.pi * 0.6)) / 2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "scheduler_interval: step"),
        ({"warmup": -1, "total_steps": 5}, "warmup"),
        ({"warmup": 1.5, "total_steps": 5}, "warmup"),
        ({"min_lr_ratio": 2.0, "total_steps": 5}, "min_lr_ratio"),
    ],
)
def test_warmup_cosine_refuses(options, message):
    with pytest.raises(UserError, match=message):
        WarmupCosine(sgd(), **options)


# build_scheduler


@pytest.mark.parametrize(
    ("yaml", "total_steps"),
    [
        ("{class_path: tiny_imagenet.optim.WarmupCosine, init_args: {warmup: 5}}", 40),
        ("{class_path: tiny_imagenet.optim.WarmupCosine, init_args: {total_steps: 7}}", 7),
        ("{class_path: torch.optim.lr_scheduler.OneCycleLR, init_args: {max_lr: 1.0}}", 40),
        ("{class_path: torch.optim.lr_scheduler.OneCycleLR, init_args: {max_lr: 1.0, total_steps: 7}}", 7),
        ("{class_path: torch.optim.lr_scheduler.StepLR, init_args: {step_size: 7}}", None),
        ("{class_path: torch.optim.lr_scheduler.CosineAnnealingLR, init_args: {T_max: 7}}", None),
    ],
)
def test_schedules_of_a_config_learn_the_number_of_steps(yaml, total_steps):
    optimizer = SGD([parameter(0.0)], lr=0.1, momentum=0.9)
    schedule = build_scheduler(from_yaml(yaml, LRSchedulerCallable | None), optimizer, 40)
    assert getattr(schedule, "total_steps", None) == total_steps


@pytest.mark.parametrize(
    ("scheduler", "total_steps"),
    [
        (WarmupCosine, 40),
        (partial(WarmupCosine, warmup=3), 40),
        (partial(WarmupCosine, total_steps=7), 7),
        (lambda optimizer: StepLR(optimizer, 3), None),
        (lambda optimizer, total_steps: WarmupCosine(optimizer, total_steps=total_steps), 40),
    ],
)
def test_schedules_of_python_learn_the_number_of_steps(scheduler, total_steps):
    assert getattr(build_scheduler(scheduler, sgd(), 40), "total_steps", None) == total_steps


@pytest.mark.parametrize(("warmup", "steps"), [("0.1", 4), ("1", 1), ("1.0", 40), ("12", 12)])
def test_config_tells_steps_from_shares(warmup, steps):
    yaml = f"{{class_path: tiny_imagenet.optim.WarmupCosine, init_args: {{warmup: {warmup}}}}}"
    assert build_scheduler(from_yaml(yaml, LRSchedulerCallable), sgd(), 40).warmup_steps == steps


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (WarmupCosine, "scheduler_interval: step"),
        (partial(OneCycleLR, max_lr=1.0), r"total_steps.*scheduler_interval: step"),
        (partial(OneCycleLR, max_lr=1.0, total_steps=-3), "model.scheduler: .*-3"),
        (ReduceLROnPlateau, "lightning.pytorch.cli.ReduceLROnPlateau.*monitor"),
    ],
)
def test_schedules_that_cannot_be_built(scheduler, message):
    with pytest.raises(UserError, match=message):
        build_scheduler(scheduler, SGD([parameter(0.0)], lr=0.1, momentum=0.9), None)


def test_plateau_keeps_its_metric():
    yaml = "{class_path: lightning.pytorch.cli.ReduceLROnPlateau, init_args: {monitor: val/loss, patience: 2}}"
    schedule = build_scheduler(from_yaml(yaml, LRSchedulerCallable), sgd(), None)
    assert (schedule.monitor, schedule.patience) == ("val/loss", 2)
