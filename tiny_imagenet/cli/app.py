"""The command line: LightningCLI with this project's classes, run folders, and errors without tracebacks.

`arguments.plan` has turned what the user typed into LightningCLI's own arguments.
"""

import inspect
import logging
import os
import shutil
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from jsonargparse import ArgumentError, set_parsing_settings
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch.optim.lr_scheduler import LRScheduler

from tiny_imagenet import hardware
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
from tiny_imagenet.cli.arguments import COMMANDS, CONFIGS, Plan, plan, resuming
from tiny_imagenet.cli.logs import show_log
from tiny_imagenet.cli.option_errors import (
    constructor_error_message,
    optimizer_error_message,
    option_error_message,
)
from tiny_imagenet.cli.printed import tool_command, training_command
from tiny_imagenet.cli.saved_config import RunConfig, sections
from tiny_imagenet.cli.unsupported import require_supported_callbacks, require_supported_options
from tiny_imagenet.data import ImageDataModule
from tiny_imagenet.data.augment import Augmentation
from tiny_imagenet.errors import UserError, user_message
from tiny_imagenet.models import REDUCTION
from tiny_imagenet.progress import say
from tiny_imagenet.run.checkpoint_files import checkpoint_to_test
from tiny_imagenet.run.checkpointing import Interrupted, RunCheckpoint
from tiny_imagenet.run.config_changes import flat, require_resumable
from tiny_imagenet.run.folder import CHECKPOINTS, CONFIG, RunLock, claim, read_config, run_of
from tiny_imagenet.run.lightning_internals import PlainCLI

log = logging.getLogger(__name__)

# The kinds of classes that a config names, to find the nearest right name.
NAMED_IN_CONFIGS = (ImageDataModule, Augmentation, torch.optim.Optimizer, LRScheduler, Callback)


def main(argv: list[str] | None = None) -> None:
    """Run `training.py`'s command line; `argv` defaults to that of the process.

    Exit status: 0; 1 for an error that the user can fix, printed as one message; 2 for arguments that are not
    understood; 130 after Ctrl-C and 143 after SIGTERM.
    """
    argv = sys.argv[1:] if argv is None else argv
    show_log()
    # TensorBoard's writing thread raises its error in this thread as well.
    threading.excepthook = lambda args: None if user_message(args.exc_value) else threading.__excepthook__(args)
    target = None
    try:
        target = plan(argv)
        _run(target)
    except Interrupted as interruption:
        # Further signals are ignored until this is said.
        resume = f" To resume: {training_command('fit', *resuming(argv, target))}" if target.run.is_dir() else ""
        _say(f"Stopped by {interruption}.{resume}")
        interruption.restore_handlers()
        sys.exit(interruption.status)
    except KeyboardInterrupt:
        sys.exit(130)
    except SIGTERMException:  # outside training; its own exit status would be 0
        _say("Stopped by SIGTERM.")
        sys.exit(128 + signal.SIGTERM)
    except SystemExit as leaving:
        # Lightning turns a Ctrl-C outside training into an exit status of 1.
        sys.exit(130 if isinstance(leaving.__context__, KeyboardInterrupt) else leaving.code)
    except Exception as error:
        message = _message(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ArgumentError) else 1)


def _message(error: Exception) -> str | None:
    """The message for the user of an error; None for a bug."""
    message = user_message(error) or optimizer_error_message(error)
    if message is None and isinstance(error, ArgumentError):
        options = flat(yaml.safe_load((CONFIGS / "defaults.yaml").read_text()))
        names = [option.replace("data.init_args.", "data.") for option in options]
        return option_error_message(error, names, {base.__name__: _class_names(base) for base in NAMED_IN_CONFIGS})
    return message


def _run(target: Plan) -> None:
    lock = RunLock(target.run)
    try:
        cli = Cli(target, lock)
    finally:
        lock.release()
    if target.command == "fit" and cli.trainer.fast_dev_run:
        cli.remove_run()
        _say("fast_dev_run: training and validation work; nothing was kept.")
    elif target.command == "fit":
        checkpoint = checkpoint_to_test(target.run)
        test = [training_command("test", "--ckpt_path", str(checkpoint))] if checkpoint else []
        runs = target.run.parent.parent
        board = tool_command("tensorboard", ["--logdir", str(runs)])
        _say("\n  ".join([f"Run saved in {target.run}. Next:", *test, board]))
    unreadable = next(c.unreadable for c in cli.trainer.callbacks if isinstance(c, Predictions))
    if unreadable and rank_zero_only.rank != 0:
        sys.exit(1)  # the first process prints them
    if unreadable:
        raise UserError(
            f"{len(unreadable)} image(s) could not be read and have no prediction:\n  " + "\n  ".join(unreadable)
        )


class Cli(PlainCLI):
    """LightningCLI for a planned command; it parses, instantiates and runs it."""

    def __init__(self, target: Plan, lock: RunLock | None = None) -> None:
        self.target, self.lock = target, lock or RunLock(target.run)
        self.claimed: list[Path] = []  # folders that this command made, the run's first
        _restrict_configs()
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
        if config.ckpt_path and not target.checkpoint:
            raise UserError(f"ckpt_path: {config.ckpt_path} is set in a config; give it on the command line instead.")
        if target.command == "fit" and config.trainer.fast_dev_run and self._resumes:
            raise UserError("fast_dev_run tries a run of its own and keeps nothing: leave out --ckpt_path.")
        config.weights_only = True  # whatever a config says
        if self.subcommand in ("validate", "test"):
            config.verbose = False  # Lightning's table; `Progress` and `TestResults` print a line
        if config.trainer.logger:
            self.trainer_defaults["callbacks"].append(LearningRateMonitor("step"))
        require_supported_options(config.trainer)
        before = self._config_to_resume()
        if before:
            # Another machine may have chosen it: a training continues in the precision that it began with.
            config.trainer.precision = config.trainer.precision or before.get("trainer", {}).get("precision")
        config.trainer.precision = hardware.set_up(
            config.trainer.accelerator, config.trainer.precision, _shrinks_to_one_pixel(config)
        )
        if before:
            run = run_of(target.checkpoint)
            require_resumable(before, sections(self.command_parser("fit"), config), run)
        if target.command == "fit":
            self._take_run_folder()

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
        checkpoint = self.target.checkpoint
        if self.target.command != "fit" or checkpoint is None:
            return {}
        run = run_of(checkpoint)
        try:
            return read_config(run)
        except FileNotFoundError:
            lost = f"{run / CONFIG} is gone, so it is unknown whether the config is still the same."
            if run == self.target.run:
                raise UserError(f"{lost} Restore it, or start a new run with --model.weights {checkpoint}") from None
            log.warning(lost)
            return {}

    def _take_run_folder(self) -> None:
        if rank_zero_only.rank != 0:
            return
        if not self._resumes:
            self.claimed = claim(self.target.run)
        self.lock.acquire()

    @property
    def _resumes(self) -> bool:
        """Whether the command continues in the folder of its checkpoint's run."""
        return self.target.checkpoint is not None and run_of(self.target.checkpoint) == self.target.run

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
        except (ImportError, MisconfigurationException, TypeError, ValueError) as error:
            raise UserError(
                f"trainer: {error} (For accelerator, devices and strategy, `auto` uses what this machine has.)"
            ) from error
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
        if self.target.command == "fit":
            require_supported_callbacks(self.trainer.callbacks, getattr(self.model.scheduler, "keywords", {}))


def _restrict_configs() -> None:
    """Let configs name classes of allowed modules only: the module is the one where the class is defined."""
    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=[*allowed.MODULES, *allowed.users_modules()],
        # Where a config may hold any object, a class is refused or stays a dictionary; it is never instantiated.
        validate_subclass_spec_in_any=True,
        instantiate_subclass_spec_in_any=False,
        # Lightning allows parts of a config to be URLs.
        config_read_mode_fsspec_enabled=False,
    )


def _shrinks_to_one_pixel(config: Any) -> bool:
    """Whether the network would convolve maps of a single pixel with stride 2."""
    options = config.data.init_args
    return min([options.image_size, *(options.progressive or {})]) <= REDUCTION[config.model.stem]


def _class_names(base: type) -> set[str]:
    """The names of a class and all its subclasses that can be instantiated."""
    own = set() if inspect.isabstract(base) else {base.__name__}
    return own.union(*(_class_names(child) for child in base.__subclasses__()))


_say = rank_zero_only(say)
