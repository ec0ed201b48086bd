"""Checkpoints whose states do not fit the training that resumes: the part is named, and the run is as before."""

import inspect
import io
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer, lr_scheduler

from tests.helpers.options import callback
from tests.helpers.tables import table
from tiny_imagenet.optim import Lookahead, MuonSGD, WarmupCosine
from tiny_imagenet.run import restoring

ADAM = ["--model.optimizer=Adam", "--model.optimizer.lr=0.001", "--model.scheduler=StepLR",
        "--model.scheduler.step_size=4", "--model.scheduler_interval=epoch",
        *callback("EarlyStopping", monitor="val/loss"), *callback("EMA", decay=0.9)]  # fmt: skip
HUGE = 10**30
COUNT = "loops.fit_loop.epoch_loop."


def put(place, value):
    """Put a value at a place in a checkpoint."""

    def change(content):
        for key in place[:-1]:
            content = content[key]
        content[place[-1]] = value

    return change


def lose(*place):
    def change(content):
        for key in place[:-1]:
            content = content[key]
        del content[place[-1]]

    return change


def group(name, value):
    return put(["optimizer_states", 0, "param_groups", 0, name], value)


def state(name, value):
    return put(["optimizer_states", 0, "state", 0, name], value)


def schedule(name, value):
    return put(["lr_schedulers", 0, name], value)


def stopping(name, value):
    def change(content):
        key = next(key for key in content["callbacks"] if key.startswith("EarlyStopping"))
        content["callbacks"][key][name] = value

    return change


def loop(name, *place_and_value):
    *place, value = place_and_value
    return put(["loops", "fit_loop", f"epoch_loop.{name}", *place], value)


FAULTS = {
    "no optimizer": (put(["optimizer_states"], []), "optimizer_states must be of 1 optimizer, not []"),
    "an optimizer's number": (put(["optimizer_states"], [3]), "optimizer_states.0 must be the state of an optimizer"),
    "no groups": (lose("optimizer_states", 0, "param_groups"), "optimizer_states.0.param_groups must be 2 values"),
    "one group": (lose("optimizer_states", 0, "param_groups", 1), "optimizer_states.0.param_groups must be 2 values"),
    "rate as text": (group("lr", "x"), "optimizer_states.0.param_groups.0.lr must be a number, not 'x'"),
    "rate of NaN": (group("lr", math.nan), "optimizer_states.0.param_groups.0.lr must be a number, not nan"),
    "rate beyond all floats": (group("lr", 10**400), "param_groups.0.lr must be a number, not 1000"),
    "betas": (group("betas", 0.9), "optimizer_states.0.param_groups.0.betas must be 2 values, not 0.9"),
    "parameters": (group("params", [0]), "optimizer_states.0.param_groups.0.params must be"),
    "state as text": (put(["optimizer_states", 0, "state", 0], "x"), "optimizer_states.0.state.0 must be values by"),
    "moment as text": (state("exp_avg", "x"), "optimizer_states.0.state.0.exp_avg must be a number, or a tensor that"),
    "moment of another shape": (state("exp_avg", torch.ones(3)), "exp_avg must be a number, or a tensor that fits"),
    "moment as number": (state("exp_avg", 1.5), "0.exp_avg must be a tensor, as of other parameters, not 1.5"),
    "moment without sides": (state("exp_avg", torch.tensor(1.5)), "0.exp_avg must be a tensor, as of other parameters"),
    "steps as moments": (state("step", torch.ones(8, 3, 7, 7)), "0.step must be a tensor [], as of other parameters"),
    "no moment": (lose("optimizer_states", 0, "state", 0, "exp_avg"), "0.exp_avg must be a tensor, as of other"),
    "moment of NaN": (state("exp_avg", torch.full((8, 3, 7, 7), math.nan)), "state.0.exp_avg must be finite"),
    "no schedule": (put(["lr_schedulers"], []), "lr_schedulers must be of 1 schedule(s), not []"),
    "position as text": (schedule("last_epoch", "x"), "lr_schedulers.0.last_epoch must be a number, not 'x'"),
    "rates": (schedule("base_lrs", [0.1]), "lr_schedulers.0.base_lrs must be 2 values, not [0.1]"),
    "a method's name": (schedule("step", 3), "lr_schedulers.0 must be without the names of methods, not ['step']"),
    "patience as text": (stopping("wait_count", "x"), ".wait_count must be a number, not 'x'"),
    "best as number": (stopping("best_score", 3), ".best_score must be a tensor [], not 3"),
    "a loop that is lost": (lose("loops", "fit_loop", "epoch_loop.scheduler_progress"), f"{COUNT}scheduler_progress"),
    "steps as text": (
        loop("automatic_optimization.optim_progress", "optimizer", "step", "total", "ready", "x"),
        f"{COUNT}automatic_optimization.optim_progress.optimizer.step.total.ready must be a number from 0, not 'x'",
    ),
    "half a step": (loop("batch_progress", "is_last_batch", 0.5), "batch_progress.is_last_batch must be true or false"),
    "a count too many": (loop("batch_progress", "reset", 3), f"{COUNT}batch_progress must be total, current"),
    "states of a loader": (put(["loops", "fit_loop", "state_dict", "combined_loader"], [3]), "must be empty"),
    "average": (put(["averaging_state"], {"n_averaged": "x"}), "weights do not fit the network"),
    "no average": (put(["averaging_state"], 3), "its callbacks can't be restored (TypeError"),
    "sums": (put(["train_metrics", "top1"], {"tp": torch.ones(1, 7)}), "train_metrics.top1.tp is not a sum"),
    "a sum's type": (
        put(["train_metrics", "loss"], {"weight": torch.ones(1, dtype=torch.int64)}), "loss.weight is not a sum",
    ),
    "a sum's name": (put(["train_metrics", "loss"], {"update": torch.ones(1)}), "its train_metrics.loss.update is not"),
    "images": (put(["TinyImageNetDataModule"], 3), "it does not say how many images and batches an epoch has"),
    "batches": (put(["TinyImageNetDataModule", "steps_per_epoch"], "x"), "it does not say how many images and"),
    "a later epoch": (put(["loops", "fit_loop", "epoch_progress", "total", "ready"], HUGE), "epoch_progress.total"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_state_that_does_not_fit_is_named_and_the_run_is_as_before(run, small, finished, fault):
    change, message = FAULTS[fault]
    options = [*small, *ADAM]
    version = finished(*options, "--trainer.max_epochs=1")
    last = version / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    change(content)
    torch.save(content, last)
    (version / "metrics.csv").write_text("epoch\n0\n1\n")  # as if it were killed later
    before = {path: path.read_bytes() for path in version.rglob("*") if path.is_file()}
    status, output = run("fit", *options, "--ckpt_path=last")
    assert status == 1 and "Traceback" not in output, output
    (line,) = (line for line in output.splitlines() if line.startswith("error: "))
    assert message in line and output.rstrip().endswith(line), output
    assert {path: path.read_bytes() for path in before} == before
    assert [path.name for path in version.parent.iterdir()] == ["version_0"]


def test_a_lost_row_is_restored_even_if_nothing_is_left_to_train(run, small, trained):
    rows = table(trained / "metrics.csv")
    (trained / "metrics.csv").write_text("epoch\n0\n")
    status, output = run("fit", "--config=resnet18_aug.yaml", *small, "--ckpt_path=last")
    assert status == 0 and "Already finished" in output, output
    assert table(trained / "metrics.csv") == rows


def test_a_user_s_callback_s_state_is_its_own(run, small, tmp_path):
    fit = ["fit", *small, *callback("counting.Counting")]
    assert run(*fit, "--trainer.max_epochs=1")[0] == 0
    last = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    assert content["callbacks"]["Counting"]["seen"] == 4.0
    torch.save(content | {"callbacks": content["callbacks"] | {"Counting": {"names": []}}}, tmp_path / "other.ckpt")
    status, output = run(*fit, "--ckpt_path=other.ckpt")
    assert (
        status == 1
        and "other.ckpt is damaged, or of another training: its callbacks can't be restored (KeyError: 'see" in output
    )
    status, output = run(*fit, "--ckpt_path=last")
    assert status == 0, output


# States that do fit

OPTIMIZERS = {
    name: lambda groups, kind=kind: kind(groups, lr=0.01)
    for name, kind in inspect.getmembers(torch.optim, inspect.isclass)
    if issubclass(kind, Optimizer) and kind is not Optimizer and name not in ("LBFGS", "SparseAdam", "Muon")
} | {
    "SGD with momentum": lambda groups: SGD(groups, lr=0.01, momentum=0.9),
    "MuonSGD": lambda groups: MuonSGD(groups, momentum=0.9),
    "Lookahead": lambda groups: Lookahead(groups, torch.optim.Adam, k=2),
}
SCHEDULES = {
    "StepLR": {"step_size": 2}, "MultiStepLR": {"milestones": [1, 3]}, "ExponentialLR": {"gamma": 0.9},
    "ConstantLR": {}, "LinearLR": {}, "PolynomialLR": {}, "CosineAnnealingLR": {"T_max": 9},
    "CosineAnnealingWarmRestarts": {"T_0": 2}, "CyclicLR": {"base_lr": 0.1, "max_lr": 0.2},
    "OneCycleLR": {"max_lr": 0.1, "total_steps": 9},
    "ReduceLROnPlateau": {}, "LambdaLR": {"lr_lambda": lambda step: 1 / (step + 1)},
}  # fmt: skip


def groups():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )
    parameters = list(network.parameters())
    network(torch.randn(4, 3, 8, 8)).square().sum().backward()
    return [
        {"params": [each for each in parameters if each.ndim > 1], "weight_decay": 0.1},
        {"params": [each for each in parameters if each.ndim < 2], "weight_decay": 0.0},
    ]


def saved(part, states):
    """States as a checkpoint gives them back."""
    file = io.BytesIO()
    torch.save({part: states}, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_of_every_optimizer_fits(name):
    optimizer = OPTIMIZERS[name](groups())
    for _ in range(3):
        optimizer.step()
    content = saved("optimizer_states", [optimizer.state_dict()])
    trainer = SimpleNamespace(optimizers=[OPTIMIZERS[name](groups())])
    assert list(restoring._of_optimizers(trainer, content)) == []


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_state_of_every_schedule_fits(name):
    def schedule():
        return getattr(lr_scheduler, name)(SGD(groups(), lr=0.1, momentum=0.9), **SCHEDULES[name])

    used = schedule()
    for step in range(5):
        used.optimizer.step()
        used.step(*[step] * (name == "ReduceLROnPlateau"))
    trainer = SimpleNamespace(lr_scheduler_configs=[SimpleNamespace(scheduler=schedule())])
    assert list(restoring._of_schedules(trainer, saved("lr_schedulers", [used.state_dict()]))) == []


def test_the_state_of_schedules_within_a_schedule_fits():
    def schedule(total_steps):
        optimizer = SGD(groups(), lr=0.1)
        parts = [WarmupCosine(optimizer, total_steps=total_steps), lr_scheduler.StepLR(optimizer, 2)]
        return lr_scheduler.SequentialLR(optimizer, parts, milestones=[2])

    used = schedule(9)
    for _ in range(4):
        used.optimizer.step()
        used.step()
    trainer = SimpleNamespace(lr_scheduler_configs=[SimpleNamespace(scheduler=schedule(12))])
    assert list(restoring._of_schedules(trainer, saved("lr_schedulers", [used.state_dict()]))) == []
