"""Every private name of Lightning's that this project uses, and why. tests/run/test_lightning_internals.py checks them.

Tried with Lightning 2.6. After an upgrade that moves one of them, this is the file to change.
"""

import gc
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.optim.swa_utils import AveragedModel


def attached_trainer(module: pl.LightningModule) -> pl.Trainer | None:
    """The trainer of a module, if it has one: the public property raises an error without."""
    return module._trainer


def batches_trained(trainer: pl.Trainer) -> int:
    """Batches that training has begun with, over all epochs: the one progress that a checkpoint restores exactly."""
    return trainer.fit_loop.epoch_loop.batch_progress.total.ready


def batches_trained_before(checkpoint: Mapping[str, Any]) -> int:
    """Those of the training that a checkpoint is of."""
    return checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["ready"]


def begin_next_epoch(trainer: pl.Trainer) -> None:
    """Begin with the next epoch, since the last one is complete: with `max_steps`, Lightning would resume it again."""
    trainer.fit_loop.epoch_loop.restarting = False


def complete_last_epoch(checkpoint: dict[str, Any]) -> None:
    """Let a finished epoch count as completed.

    It is saved in its last hook, before Lightning notes that it is complete, and with `max_steps` Lightning would end
    it once more.
    """
    progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]
    if progress["current"]["processed"] == progress["current"]["ready"]:
        for counts in progress.values():
            counts["completed"] = counts["processed"]


# Parts of a checkpoint, in the order in which Lightning restores them, and the method that does.
RESTORED = {
    "pytorch-lightning_version": "resume_start",  # reads the file, and adapts what an earlier version wrote
    "state_dict": "restore_model",
    "data": "restore_datamodule",
    "callbacks": "restore_callbacks",
    "precision": "restore_precision_plugin_state",
    "loops": "restore_loops",
    "optimizer_states": "restore_optimizers",
    "lr_schedulers": "restore_lr_schedulers",
}


def wrap_restoring(trainer: pl.Trainer, part: str, restore: Callable[..., None]) -> None:
    """Let `restore` restore a part of RESTORED; it is called with Lightning's method and that method's arguments."""
    connector, method = trainer._checkpoint_connector, RESTORED[part]
    setattr(connector, method, partial(restore, getattr(connector, method)))


def checkpoint_being_restored(trainer: pl.Trainer) -> tuple[str | None, dict[str, Any]]:
    """Its path, and its content, which is empty before it is read and where there is none."""
    connector = trainer._checkpoint_connector
    return connector._ckpt_path, connector._loaded_checkpoint


def step_watching_schedules(trainer: pl.Trainer) -> None:
    """Advance the schedules that watch a metric, at the end of an epoch.

    Lightning does so after the hooks that save the epoch, so a checkpoint would lack it. Other schedules have advanced.
    """
    trainer.fit_loop.epoch_loop.update_lr_schedulers("epoch", update_plateau_schedulers=True)


def take_sigterm(trainer: pl.Trainer) -> bool:
    """Whether SIGTERM has arrived since Lightning began, which then forgets it: it would exit without saving."""
    received = trainer.received_sigterm
    trainer._signal_connector.received_sigterm = False
    return received


def stop_broadcasting_sigterm(trainer: pl.Trainer) -> None:
    """Keep Lightning from asking the first rank at every step whether it got SIGTERM: all would wait for their GPUs.

    https://github.com/Lightning-AI/pytorch-lightning/issues/21487
    """
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None


def wrap_in_ddp_again(trainer: pl.Trainer) -> None:
    """Let the devices average the gradients of parameters that were frozen when Lightning wrapped the network.

    DistributedDataParallel averages those only that require gradients when it is made.
    """
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy):
        strategy.model = strategy.lightning_module
        gc.collect()  # The old wrapper's hooks end with it.
        strategy.configure_ddp()


def settle_buckets(trainer: pl.Trainer, images: Tensor) -> None:
    """Let DistributedDataParallel group the gradients as it will in all steps, by a pass that trains nothing.

    It groups them anew after its first pass, in the order in which they came. With three or more devices a sum of
    gradients depends on the group, so the first step after a resume would differ in its last bits.

    Args:
        images: any, float32 [B, 3, H, W] on the device.
    """
    strategy = trainer.strategy
    if not isinstance(strategy, DDPStrategy):
        return
    training = [module for module in strategy.model.modules() if module.training]
    strategy.model.eval()  # neither dropout nor statistics of BatchNorm
    with torch.compiler.set_stance("force_eager"), trainer.precision_plugin.forward_context():
        strategy.model(images).sum().backward()
    for module in training:
        module.training = True
    strategy.model.zero_grad(set_to_none=True)


def set_average_model(callback: WeightAveraging, model: AveragedModel) -> None:
    """Give Lightning's callback an average of our own: its `setup` makes one of torch's."""
    callback._average_model = model


class PlainCLI(LightningCLI):
    """LightningCLI without a step that would let a checkpoint's hyperparameters silently override the command line."""

    def _parse_ckpt_path(self) -> None:
        pass

    def command_parser(self, command: str) -> LightningArgumentParser:
        """The parser of `fit` or another command, to write out a config."""
        return self._subcommand_parsers[command]


class UnrunCLI(LightningCLI):
    """LightningCLI that parses a command and instantiates its classes, and runs nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass
