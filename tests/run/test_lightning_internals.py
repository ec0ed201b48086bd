"""The private parts of Lightning that this project uses: that they are there, and do what they are used for."""

import inspect
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch.optim.swa_utils import AveragedModel

from tiny_imagenet.run.lightning_internals import (
    PlainCLI,
    UnrunCLI,
    attached_trainer,
    batches_trained,
    begin_next_epoch,
    complete_last_epoch,
    set_average_model,
    step_watching_schedules,
    stop_broadcasting_sigterm,
    take_sigterm,
)


class Model(pl.LightningModule):
    """A linear layer of a size that its checkpoints remember."""

    def __init__(self, size: int = 1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(size, 1)


def trainer_of(folder: Path, **options) -> pl.Trainer:
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    return pl.Trainer(accelerator="cpu", default_root_dir=folder, **dict.fromkeys(quiet, False), **options)


@pytest.fixture
def trainer(tmp_path) -> pl.Trainer:
    return trainer_of(tmp_path, max_epochs=3)


@pytest.fixture
def other_trainer(tmp_path) -> pl.Trainer:
    """Of another process, which resumes."""
    return trainer_of(tmp_path, max_steps=100)


def is_there(owner: object, path: str) -> bool:
    """Whether an object has the attribute, or the attribute of its attribute, of that dotted name."""
    for name in path.split("."):
        if not hasattr(owner, name):
            return False
        owner = getattr(owner, name)
    return True


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (Model, "_trainer"),
        (pl.Trainer, "fit_loop.epoch_loop.batch_progress.total.ready"),
        (pl.Trainer, "fit_loop.epoch_loop.restarting"),
        (pl.Trainer, "fit_loop.epoch_loop.update_lr_schedulers"),
        (pl.Trainer, "fit_loop.epoch_loop._broadcast_sigterm_tensor"),
        (pl.Trainer, "_signal_connector.received_sigterm"),
        (EMAWeightAveraging, "_average_model"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_lightning_has_it(kind, path, trainer):
    owner = trainer if kind is pl.Trainer else kind()
    assert is_there(owner, path), f"Lightning's {kind.__name__} has no {path} any more: see lightning_internals.py"


@pytest.mark.parametrize("name", ["_parse_ckpt_path", "_subcommand_parsers"])
def test_lightning_s_command_line_uses_it(name):
    assert f"self.{name}" in inspect.getsource(LightningCLI), f"LightningCLI has no {name} any more"


# attached_trainer


def test_a_module_without_a_trainer_has_none_and_one_with_a_trainer_has_that():
    module = Model()
    with pytest.raises(RuntimeError):
        _ = module.trainer
    assert attached_trainer(module) is None
    module.trainer = SimpleNamespace()
    assert attached_trainer(module) is module.trainer


# batches_trained


def test_batches_are_counted_over_all_epochs_and_after_a_resume(trainer, other_trainer):
    progress = trainer.fit_loop.epoch_loop.batch_progress
    for _ in range(2):
        progress.reset_on_run()  # as at the beginning of each epoch
        for _ in range(5):
            progress.increment_ready()
    assert progress.current.ready == 5
    assert batches_trained(trainer) == 10
    other_trainer.fit_loop.load_state_dict(trainer.fit_loop.state_dict())
    assert batches_trained(other_trainer) == 10


def test_a_batch_counts_from_the_moment_that_training_begins_with_it():
    source = inspect.getsource(_TrainingEpochLoop.advance)
    assert source.index("batch_progress.increment_ready()") < source.index('"on_train_batch_start"')


# begin_next_epoch, complete_last_epoch


def saved_at_the_end_of_an_epoch(trainer: pl.Trainer, path: Path) -> dict:
    """What Lightning saves in the last hook of the second epoch of five batches each."""
    fit_loop = trainer.fit_loop
    for epoch in range(2):
        fit_loop.epoch_progress.increment_ready()
        fit_loop.epoch_progress.increment_started()
        fit_loop.epoch_loop.batch_progress.reset_on_run()
        fit_loop.epoch_loop.batch_progress.increment_by(5, is_last_batch=True)
        fit_loop.epoch_progress.increment_processed()
        if epoch == 0:
            fit_loop.epoch_progress.increment_completed()
    trainer.strategy.connect(Model())
    trainer.save_checkpoint(path)
    return torch.load(path, weights_only=True)


def test_a_finished_epoch_counts_as_completed(trainer, tmp_path):
    checkpoint = saved_at_the_end_of_an_epoch(trainer, tmp_path / "x.ckpt")
    progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]
    assert progress["total"]["completed"] == 1, "or it need not be corrected"
    complete_last_epoch(checkpoint)
    for counts in progress.values():
        assert counts == {"ready": 2, "started": 2, "processed": 2, "completed": 2}


def test_lightning_then_does_not_end_the_epoch_again(trainer, other_trainer, tmp_path):
    checkpoint = saved_at_the_end_of_an_epoch(trainer, tmp_path / "x.ckpt")
    loop = other_trainer.fit_loop
    loop.load_state_dict(checkpoint["loops"]["fit_loop"])
    loop.update_restart_stage()
    assert loop.restarted_on_epoch_end, "with max_steps it would"
    complete_last_epoch(checkpoint)
    loop.load_state_dict(checkpoint["loops"]["fit_loop"])
    loop.update_restart_stage()
    assert not (loop.restarted_on_epoch_end or loop.resumed_on_epoch_end)
    assert other_trainer.current_epoch == 2


def test_an_epoch_that_is_not_finished_is_left_as_it_is(trainer):
    progress = trainer.fit_loop.epoch_progress
    progress.increment_ready()
    progress.increment_started()
    checkpoint = {"loops": {"fit_loop": trainer.fit_loop.state_dict()}}
    complete_last_epoch(checkpoint)
    expected = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    assert checkpoint["loops"]["fit_loop"]["epoch_progress"] == {"total": expected, "current": expected}


def test_the_next_epoch_begins_with_its_first_batch(trainer, other_trainer, tmp_path):
    checkpoint = saved_at_the_end_of_an_epoch(trainer, tmp_path / "x.ckpt")
    other_trainer.fit_loop.load_state_dict(checkpoint["loops"]["fit_loop"])
    epoch_loop = other_trainer.fit_loop.epoch_loop
    assert epoch_loop.restarting and epoch_loop.val_loop.restarting, "with max_steps, it would resume the last epoch"
    begin_next_epoch(other_trainer)
    assert not epoch_loop.restarting and not epoch_loop.val_loop.restarting
    epoch_loop.reset()
    assert epoch_loop.batch_progress.current.ready == 0
    assert batches_trained(other_trainer) == 10


# step_watching_schedules


def test_a_schedule_that_watches_a_metric_advances_at_the_end_of_an_epoch_and_one_by_steps_does_not(trainer):
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    watching = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="min", patience=0, factor=0.5)
    by_steps = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    model.trainer = trainer
    trainer.strategy.connect(model)
    trainer.strategy.optimizers = [optimizer]
    trainer.strategy.lr_scheduler_configs = [
        LRSchedulerConfig(watching, interval="epoch", monitor="val/loss", reduce_on_plateau=True),
        LRSchedulerConfig(by_steps, interval="step"),
    ]
    trainer.callback_metrics["val/loss"] = torch.tensor(1.0)
    step_watching_schedules(trainer)
    assert (watching.best, optimizer.param_groups[0]["lr"]) == (1.0, 1.0)
    step_watching_schedules(trainer)
    assert optimizer.param_groups[0]["lr"] == 0.5, "no better than before"
    assert (watching.last_epoch, by_steps.last_epoch) == (2, 0)


def test_lightning_advances_other_schedules_of_epochs_before_the_hooks_that_save():
    source = inspect.getsource(_TrainingEpochLoop)
    assert 'update_lr_schedulers("epoch", update_plateau_schedulers=False)' in source


# take_sigterm, stop_broadcasting_sigterm


@pytest.fixture
def terminated(trainer):
    """A trainer that got SIGTERM while its own handler was there."""
    connector = trainer._signal_connector
    connector.register_signal_handlers()
    assert callable(signal.getsignal(signal.SIGTERM)), "Lightning no longer notes SIGTERM, which would end the tests"
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        connector.teardown()
    return trainer


def test_a_sigterm_is_taken_once(terminated):
    assert terminated.received_sigterm, "Lightning notes it otherwise"
    assert take_sigterm(terminated)
    assert not terminated.received_sigterm
    assert not take_sigterm(terminated)


def test_lightning_asks_no_more_for_a_sigterm_of_the_first_rank(terminated, monkeypatch):
    monkeypatch.setattr(torch.distributed, "broadcast", lambda tensor, src: None)
    epoch_loop = terminated.fit_loop.epoch_loop
    with pytest.raises(SIGTERMException):
        epoch_loop._broadcast_sigterm_tensor()
    stop_broadcasting_sigterm(terminated)
    epoch_loop._broadcast_sigterm_tensor()
    assert "self._broadcast_sigterm_tensor()" in inspect.getsource(type(epoch_loop).advance), "called at every step"


# set_average_model


def test_lightning_s_callback_uses_the_average_that_it_is_given(tmp_path):
    model, average = Model(2), AveragedModel(Model(2))
    weights, averaged = (each.weight[0, 0].item() for each in (model.layer, average.module.layer))
    callback = EMAWeightAveraging()
    set_average_model(callback, average)
    callback.on_validation_epoch_start(None, model)
    assert model.layer.weight[0, 0].item() == averaged
    callback.on_validation_epoch_end(None, model)
    assert model.layer.weight[0, 0].item() == weights
    callback.on_train_batch_end(SimpleNamespace(global_step=1), model, None, None, 0)
    assert int(average.n_averaged) == 1
    checkpoint = {"state_dict": model.state_dict()}
    with torch.no_grad():
        average.module.layer.weight.fill_(7.0)
    callback.on_save_checkpoint(None, model, checkpoint)
    assert checkpoint["state_dict"]["layer.weight"].tolist() == [[7.0, 7.0]]
    assert checkpoint["current_model_state"]["layer.weight"][0, 0].item() == weights


# PlainCLI


@pytest.fixture
def command_line(tmp_path, monkeypatch):
    """Parse `fit --model.size=2` with a checkpoint of size 3, by LightningCLI or a class of its own."""
    trainer = trainer_of(tmp_path)
    trainer.strategy.connect(Model(size=3))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    monkeypatch.setattr(LightningCLI, "_run_subcommand", lambda self, subcommand: None)
    monkeypatch.setattr("sys.argv", ["training.py"])
    quiet = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "default_root_dir": str(tmp_path)}
    argv = ["fit", "--model.size=2", f"--ckpt_path={tmp_path / 'x.ckpt'}"]
    return lambda kind: kind(
        Model, trainer_defaults=quiet, save_config_callback=None, seed_everything_default=False, args=argv
    )


@pytest.mark.filterwarnings("ignore")  # of Lightning's about jsonargparse
def test_a_checkpoint_s_hyperparameters_override_lightning_s_command_line_and_not_this_one(command_line):
    assert command_line(LightningCLI).model.hparams.size == 3, "or PlainCLI need not exist"
    cli = command_line(PlainCLI)
    assert cli.model.hparams.size == 2
    dumped = cli.command_parser("fit").dump(cli.config["fit"])
    assert "size: 2" in dumped and "accelerator: cpu" in dumped
    with pytest.raises(KeyError):
        cli.command_parser("list")


@pytest.mark.filterwarnings("ignore")
def test_a_command_that_is_not_run_has_its_classes(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["training.py"])
    quiet = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "default_root_dir": str(tmp_path)}
    options = {"trainer_defaults": quiet, "save_config_callback": None, "seed_everything_default": False}
    # Without a data set, fitting would raise an error.
    assert UnrunCLI(Model, **options, args=["fit", "--model.size=5"]).model.hparams.size == 5
    with pytest.raises(Exception, match="train_dataloader"):
        LightningCLI(Model, **options, args=["fit", "--model.size=5"])
