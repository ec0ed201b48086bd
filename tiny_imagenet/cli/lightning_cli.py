"""LightningCLI for one planned command, with this project's classes and run folders."""

import logging
import os
import shutil
import sys
from contextlib import suppress
from numbers import Number
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from jsonargparse import Namespace
from jsonargparse.typing import register_type
from lightning.pytorch.callbacks import LearningRateMonitor, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from tiny_imagenet import hardware, threads
from tiny_imagenet.callbacks import (
    EndTogether,
    EpochStatistics,
    Predictions,
    Progress,
    TestResults,
    TrainingImages,
)
from tiny_imagenet.classifier import ImageClassifier
from tiny_imagenet.cli import allowed
from tiny_imagenet.cli.arguments import COMMANDS, Plan, default_options
from tiny_imagenet.cli.class_errors import constructor_error_message, raised_in
from tiny_imagenet.cli.nulls import require_values
from tiny_imagenet.cli.saved_config import RunConfig, sections
from tiny_imagenet.cli.unsupported import require_supported_callbacks, require_supported_options
from tiny_imagenet.data import ImageDataModule
from tiny_imagenet.errors import UserError, user_message
from tiny_imagenet.models import REDUCTION
from tiny_imagenet.run.checkpointing import RunCheckpoint
from tiny_imagenet.run.config_changes import require_resumable
from tiny_imagenet.run.folder import CHECKPOINTS, CONFIG, RunLock, claim, read_config
from tiny_imagenet.run.lightning_internals import PlainCLI

log = logging.getLogger(__name__)


def _number(value: Any) -> int | float:
    if isinstance(value, str):
        return int(value) if value.strip("+-").isdigit() else float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number")
    return value


# Torchvision's transforms have arguments of this type, which jsonargparse can neither read from text nor write.
register_type(Number, lambda value: value, _number, fail_already_registered=False)


class Cli(PlainCLI):
    """LightningCLI for a planned command; it parses, instantiates and runs it."""

    def __init__(self, target: Plan, lock: RunLock | None = None, register: threads.Register | None = None) -> None:
        self.target, self.lock = target, lock or RunLock(target.run)
        self._load, self.register = threads.Load(), register or threads.Register()
        self.claimed: list[Path] = []  # folders that this command made, the run's first
        allowed.restrict_configs()
        # A callback in a config is added to these, and cannot drop them.
        standing = [
            EpochStatistics(),
            TrainingImages(),
            TestResults(),
            Predictions(),
            Progress(),
            EndTogether(),
        ]
        try:
            super().__init__(
                ImageClassifier,
                ImageDataModule,
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                save_config_callback=RunConfig,
                seed_everything_default=42,
                # The model logs its size in one line; Lightning's table would count no operations in bf16.
                trainer_defaults={"callbacks": standing, "enable_model_summary": False},
                parser_kwargs={command: {"exit_on_error": False} for command in COMMANDS} | {"exit_on_error": False},
                args=target.argv,
            )
        except BaseException:
            # A run that never began to train leaves nothing: `--ckpt_path last` resumes the newest folder.
            tried = hasattr(self, "trainer") and self.trainer.fast_dev_run
            if tried or not any((target.run / name).exists() for name in (CONFIG, CHECKPOINTS)):
                self.remove_run()
            raise

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")

    def before_instantiate_classes(self) -> None:
        config, target = self.config[self.subcommand], self.target
        for section in ("model", "data", "trainer", "checkpoint"):
            if config.get(section) is None:
                raise UserError(f"{section}: is null in a config; give some of its options, or leave it out.")
            if not isinstance(config[section], Namespace):
                raise UserError(f"{section}: must map options to values in a config, not {config[section]!r:.100}.")
        require_values(self.command_parser(self.subcommand), config)
        if config.ckpt_path and not target.checkpoint:
            raise UserError(f"ckpt_path: {config.ckpt_path} is set in a config; give it on the command line instead.")
        if target.command == "fit" and config.trainer.fast_dev_run and target.resumes:
            raise UserError("fast_dev_run tries a run of its own and keeps nothing: leave out --ckpt_path.")
        config.weights_only = True  # whatever a config says
        if self.subcommand in ("validate", "test"):
            config.verbose = False  # Lightning's table; `Progress` and `TestResults` print a line
        if self.subcommand == "predict":
            config.return_predictions = False  # they would fill the memory; `Predictions` keeps the best
        if config.trainer.logger:
            self.trainer_defaults["callbacks"].append(LearningRateMonitor("step"))
        require_supported_options(config.trainer)
        before = self._config_to_resume()
        if before:
            # Another machine may have chosen it: a training continues in the precision that it began with.
            config.trainer.precision = config.trainer.precision or before.get("trainer", {}).get("precision")
        config.trainer.precision = hardware.set_up(
            config.trainer.accelerator,
            config.trainer.precision,
            single_pixels=_shrinks_to_one_pixel(config),
        )
        if before:
            now = sections(self.command_parser("fit"), config)
            require_resumable(before, now, target.trained_in, default_options())
        if target.command == "fit":
            self._take_run_folder()
        self._set_threads(config.trainer)

    def instantiate_classes(self) -> None:
        """Lightning's own; what a class raises that a config names becomes one message."""
        try:
            super().instantiate_classes()
        except Exception as error:
            if user_message(error) is None and (message := constructor_error_message(error)):
                raise UserError(message) from error
            raise

    def _config_to_resume(self) -> dict[str, Any]:
        """The config of the run that a `fit` resumes, or starts from; empty if there is none.

        Raises:
            UserError: the run's config is lost.
        """
        target, run = self.target, self.target.trained_in
        if target.command != "fit" or run is None:
            return {}
        try:
            return read_config(run)
        except FileNotFoundError:
            lost = f"{run / CONFIG} is gone, so it is unknown whether the config is still the same."
            if target.resumes:
                new = f"start a new run with --model.weights {target.checkpoint}"
                raise UserError(f"{lost} Restore it, or {new}") from None
            log.warning(lost)
            return {}

    def _take_run_folder(self) -> None:
        if rank_zero_only.rank != 0:
            return
        if not self.target.resumes:
            self.claimed = claim(self.target.run)
        self.lock.acquire()

    def _set_threads(self, trainer: Any) -> None:
        """Choose the number of threads; a resumed run keeps its own. OMP_NUM_THREADS is obeyed by torch itself."""
        before = threads.read_threads(self.target.run) if self.target.command == "fit" and self.target.resumes else None
        if threads.VARIABLE in os.environ:
            if before not in (None, torch.get_num_threads()):
                log.warning(
                    f"{threads.VARIABLE}={torch.get_num_threads()}: the run had {before}, and its sums will be rounded "
                    "differently."
                )
            return
        processes = _processes(trainer)
        if {"LOCAL_RANK", "SLURM_LOCALID"} & os.environ.keys():
            choice = threads.of_rank(processes)
        else:
            choice = threads.choose(self._load, processes, self.register.enter())
        if before not in (None, choice.threads):
            choice = threads.Choice(before, f"As before, the run has {before} thread{'s' * (before != 1)}")
        torch.set_num_threads(choice.threads)
        if processes > 1:
            os.environ[threads.VARIABLE] = str(choice.threads)  # for those that Lightning starts
        if choice.reason:
            log.info(f"{choice.reason}.")

    def remove_run(self) -> None:
        """Remove the folder of a run that this command made, and those above it that it made and nobody uses."""
        if self.claimed:
            shutil.rmtree(self.target.run, ignore_errors=True)
            with suppress(OSError):  # Stops at the first folder that is not empty.
                for folder in self.claimed[1:]:
                    folder.rmdir()

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Lightning's own, whose errors are about options for this machine's devices."""
        options = self._get(self.config_init, "trainer")
        wanted, callbacks = options["enable_progress_bar"], options["callbacks"] or []
        callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
        users_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
        try:
            # Lightning's own bar only where a config names it.
            trainer = super().instantiate_trainer(**kwargs, enable_progress_bar=users_bar and wanted is not False)
        except (ImportError, MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
            where = "trainer.callbacks" if "callback_connector" in raised_in(error) else "trainer"
            about_devices = any(word in str(error).lower() for word in ("accelerator", "backend", "device", "strategy"))
            advice = " (For accelerator, devices and strategy, `auto` uses what this machine has.)" * about_devices
            raise UserError(f"{where}: {error}{advice}") from error
        progress = next(callback for callback in trainer.callbacks if isinstance(callback, Progress))
        progress.bar = sys.stderr.isatty() and wanted is not False and not users_bar
        processes = max(os.environ.get(name, "1") for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"))
        if trainer.world_size == 1 and processes != "1":  # Each would write to the same run.
            raise UserError(
                "This is one of several processes that torchrun or SLURM started, but it would train alone: set "
                "--trainer.devices to the number of devices of a machine, --trainer.num_nodes, and "
                "--trainer.strategy ddp."
            )
        return trainer

    def after_instantiate_classes(self) -> None:
        if self.target.checkpoint:
            self.model.starting_weights = None  # the checkpoint's replace them
        if self.target.images:
            self.datamodule.images = list(self.target.images)
        if self.target.command == "fit":
            require_supported_callbacks(self.trainer.callbacks, getattr(self.model.scheduler, "keywords", {}))


def _processes(trainer: Any) -> int:
    """Processes of a training on this machine, one for each of its devices."""
    devices, on_cpu = trainer.devices, trainer.accelerator == "cpu" or not torch.cuda.is_available()
    if isinstance(devices, list):
        return len(devices)
    if str(devices).isdigit():
        return max(1, int(devices))
    return 1 if on_cpu else torch.cuda.device_count()  # auto, or -1 for all


def _shrinks_to_one_pixel(config: Any) -> bool:
    """Whether the network would convolve maps of a single pixel with stride 2."""
    options = config.data.init_args
    return min([options.image_size, *(options.progressive or {})]) <= REDUCTION[config.model.stem]
