"""What classes that a config names raise before the first step, as one line that names the option."""

import inspect

import pytest
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.callbacks.progress import rich_progress
from torch.optim import Optimizer, lr_scheduler

from tests.helpers.options import callback

BRIEF = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"]
FUSED = ["--model.optimizer.fused=true", "--model.optimizer.foreach=true"]

FAULTS = {
    "two averages": ([*callback("EMA"), *callback("EMA")], "trainer.callbacks: Found more than one stateful"),
    "an average that leaves": (callback("EMA", decay=2), "trainer.callbacks: EMA: Invalid decay value 2"),
    "an average on no device": (callback("EMA", device="cuda:9"), "trainer.callbacks: EMA: "),
    "fused and each": (FUSED, "model.optimizer: SGD: `fused` and `foreach` cannot be `True` together."),
    "sparse gradients": (["--model.optimizer=SparseAdam"], "model.optimizer: SparseAdam: "),
    "no groups": (["--model.optimizer=LBFGS"], "model.optimizer: LBFGS doesn't support per-parameter options"),
    "steps of none": (
        ["--model.scheduler=StepLR", "--model.scheduler.step_size=0"], "model.scheduler: StepLR: ZeroDivisionError: ",
    ),
    "a schedule of none": (
        ["--model.scheduler=SequentialLR", "--model.scheduler.schedulers=[]", "--model.scheduler.milestones=[]"],
        "model.scheduler: ",
    ),
    "a name of two classes": (
        ["--model.scheduler=ReduceLROnPlateau"],
        "model.scheduler: several classes are called ReduceLROnPlateau. Give one in full: torch.optim.lr_scheduler.Red",
    ),
    "a time like no other": (callback("Timer", duration="soon"), "trainer.callbacks: Timer: `Timer(duration='soon')"),
    "a monitor of rates without a logger": (
        [*callback("LearningRateMonitor"), "--trainer.logger=false"], "trainer.callbacks: LearningRateMonitor: Cannot",
    ),
    "search before the training": (callback("LearningRateFinder"), "trainer.callbacks: a run with LearningRateFinder"),
}  # fmt: skip


@pytest.fixture
def refuses(run, small, tmp_path):
    def refuses(*options: str) -> str:
        """The one line that a training with these options ends with; empty if it works."""
        status, output = run("fit", *small, *options, *BRIEF)
        assert status in (0, 1, 2) and "Traceback" not in output, output
        errors = [line for line in output.splitlines() if line.startswith("error: ")]
        assert len(errors) == (status > 0) and (not status or output.rstrip().endswith(errors[0])), output
        return errors[0].removeprefix("error: ") if errors else ""

    return refuses


@pytest.mark.parametrize("fault", FAULTS)
def test_the_option_is_named(refuses, fault):
    options, message = FAULTS[fault]
    assert refuses(*options).startswith(message)


def test_a_class_that_needs_a_package_that_is_not_installed(refuses, monkeypatch):
    monkeypatch.setattr(rich_progress, "_RICH_AVAILABLE", False)
    message = refuses(*callback("RichProgressBar"))
    assert message.startswith("trainer.callbacks: RichProgressBar: it needs a package that is not installed: pip inst")


def test_a_timer_without_a_duration_only_measures(refuses):
    assert refuses(*callback("Timer")) == ""


def names_of(module, base):
    kinds = [kind for _, kind in inspect.getmembers(module, inspect.isclass) if issubclass(kind, base)]
    return sorted({kind.__name__ for kind in kinds if not inspect.isabstract(kind) and kind is not base})


@pytest.mark.slow
@pytest.mark.parametrize("name", names_of(callbacks, callbacks.Callback))
def test_every_callback_of_lightning_s_works_or_is_refused_by_its_option(refuses, name):
    message = refuses(*callback(name))
    assert not message or message.startswith(("trainer.callbacks", "LearningRateMonitor", name)), message


@pytest.mark.slow
@pytest.mark.parametrize("name", names_of(torch.optim, Optimizer))
def test_every_optimizer_of_torch_s_works_or_is_refused_by_its_option(refuses, name):
    message = refuses(f"--model.optimizer={name}")
    assert not message or message.startswith("model.optimizer"), message


@pytest.mark.slow
@pytest.mark.parametrize("interval", ["epoch", "step"])
@pytest.mark.parametrize("name", names_of(lr_scheduler, lr_scheduler.LRScheduler))
def test_every_schedule_of_torch_s_works_or_is_refused_by_its_option(refuses, name, interval):
    message = refuses(f"--model.scheduler={name}", f"--model.scheduler_interval={interval}")
    assert not message or message.startswith("model.scheduler"), message


def test_an_error_of_a_user_s_class_keeps_its_traceback(run, small):
    with pytest.raises(ZeroDivisionError):
        run("fit", *small, *callback("counting.Failing"))


def test_an_error_of_this_project_s_own_class_keeps_its_traceback(run, small, monkeypatch):
    monkeypatch.setattr("tiny_imagenet.callbacks.statistics._peak_memory", lambda device: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("fit", *small)
