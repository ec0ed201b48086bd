"""The command line: LightningCLI with this project's classes, run folders, and errors without tracebacks.

This file alone knows jsonargparse; `commands.plan` has turned what the user typed into LightningCLI's own arguments.
"""

import logging
import os
import shlex
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from jsonargparse import ArgumentError, set_parsing_settings
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch.optim.lr_scheduler import LRScheduler

from tiny_imagenet import hardware
from tiny_imagenet.callbacks import (
    EpochLines,
    EpochStatistics,
    Predictions,
    Ranks,
    StepBar,
    TestResults,
    TrainingImages,
)
from tiny_imagenet.classifier import ImageClassifier
from tiny_imagenet.cli import allowed
from tiny_imagenet.cli.arguments import COMMANDS, CONFIGS, Plan, plan, run_config
from tiny_imagenet.cli.logs import show_log
from tiny_imagenet.cli.option_errors import explained
from tiny_imagenet.cli.unsupported import require_callbacks, require_options
from tiny_imagenet.data import ImageDataModule
from tiny_imagenet.data.augment import Augmentation
from tiny_imagenet.errors import UserError
from tiny_imagenet.faults import told
from tiny_imagenet.files import replace_text
from tiny_imagenet.models import SHRINKING
from tiny_imagenet.run.checkpoint_files import require_checkpoint
from tiny_imagenet.run.checkpointing import Interrupted, RunCheckpoint
from tiny_imagenet.run.config_changes import compare, flat
from tiny_imagenet.run.folder import RunLock, claim
from tiny_imagenet.run.protocol import checkpoint_to_test, write_protocol

log = logging.getLogger(__name__)

# What config.yaml keeps: all that makes a run what it is, and not where it lies.
SECTIONS = ("seed_everything", "trainer", "model", "data", "checkpoint")

# The kinds of classes that a config names, for the nearest right one to a misspelt name.
NAMED_IN_CONFIGS = (ImageDataModule, Augmentation, torch.optim.Optimizer, LRScheduler, Callback)


def main(argv: list[str] | None = None) -> None:
    """Run `training.py`'s command line; `argv` defaults to that of the process.

    Exits with 0; 1 for a mistake or misfortune of the user's, told in one message; 2 for arguments that are not
    understood; 130 after Ctrl-C and 143 after SIGTERM.
    """
    argv = sys.argv[1:] if argv is None else argv
    show_log()
    # An error of TensorBoard's writing thread is raised in this one as well.
    threading.excepthook = lambda args: None if told(args.exc_value) else threading.__excepthook__(args)
    target = None
    try:
        target = plan(argv)
        _run(target)
    except Interrupted as interruption:
        _say(f"Stopped by {interruption}. To go on: {_command('fit', _resuming(argv, target))}")
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
    """What to tell the user of an error; None of a fault of our own."""
    message = told(error)
    if message is None and isinstance(error, ArgumentError):
        options = flat(yaml.safe_load((CONFIGS / "defaults.yaml").read_text()))
        names = [option.replace("data.init_args.", "data.") for option in options]
        return explained(error, names, [c.__name__ for base in NAMED_IN_CONFIGS for c in _subclasses(base)])
    return message


def _run(target: Plan) -> None:
    lock = RunLock(target.run)
    try:
        cli = Cli(target, lock)
    finally:
        lock.release()
    if target.command == "fit":
        tested = checkpoint_to_test(target.run)
        test = f"\n  {_command('test', ['--ckpt_path', str(tested)])}" if tested else ""
        _say(f"This run lies in {target.run}. Next:{test}\n  tensorboard --logdir {target.run.parent.parent}")
    skipped = next(c.skipped for c in cli.trainer.callbacks if isinstance(c, Predictions))
    if skipped:
        raise UserError(f"{len(skipped)} image(s) could not be read and have no prediction:\n  " + "\n  ".join(skipped))


class Cli(LightningCLI):
    """LightningCLI for a planned command; it parses, instantiates and runs it."""

    def __init__(self, target: Plan, lock: RunLock | None = None) -> None:
        self.target, self.claimed, self.lock = target, False, lock or RunLock(target.run)
        _restrict_configs()
        # A callback in a config is added to these, and cannot drop them.
        standing = [
            EpochStatistics(),
            TrainingImages(),
            TestResults(),
            Predictions(),
            StepBar(refresh_rate=10, leave=True) if sys.stderr.isatty() else EpochLines(),
            Ranks(),
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
                # The model's own line says what Lightning's table does; that counts no operations in bf16.
                trainer_defaults={"callbacks": standing, "enable_model_summary": False},
                parser_kwargs={command: {"exit_on_error": False} for command in COMMANDS} | {"exit_on_error": False},
                args=target.argv,
            )
        except BaseException:
            # What never began to train leaves nothing: `--ckpt_path last` goes on in the newest folder.
            if self.claimed and not any((target.run / name).exists() for name in ("config.yaml", "checkpoints")):
                shutil.rmtree(target.run, ignore_errors=True)
            raise

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")

    def _parse_ckpt_path(self) -> None:
        """Nothing: LightningCLI's own lets a checkpoint's hyperparameters beat the command line without a word."""

    def before_instantiate_classes(self) -> None:
        config, target = self.config[self.subcommand], self.target
        if config.ckpt_path and not target.checkpoint:
            raise UserError(f"ckpt_path: {config.ckpt_path} stands in a config; give it on the command line instead.")
        config.weights_only = True  # whatever a config says
        if config.trainer.logger:
            self.trainer_defaults["callbacks"].append(LearningRateMonitor("step"))
        origin = target.checkpoint and target.checkpoint.parent.parent
        require_options(config.trainer)
        before = run_config(origin) if target.command == "fit" and origin else None
        if before == {}:
            lost = f"{origin / 'config.yaml'} is gone, so nothing tells whether the config is still the same."
            if origin == target.run:
                raise UserError(f"{lost} Bring it back, or start a new run with --model.weights {target.checkpoint}")
            log.warning(lost)
        if before:
            # What another machine chose: a training goes on as it began.
            config.trainer.precision = config.trainer.precision or before.get("trainer", {}).get("precision")
        options = config.data.init_args
        smallest = min([options.image_size, *(options.progressive or {})])
        config.trainer.precision = hardware.set_up(
            config.trainer.accelerator, config.trainer.precision, smallest <= SHRINKING[config.model.stem]
        )
        if before:
            compare(before, _sections(self._parser("fit"), config), origin)
        if target.checkpoint:
            require_checkpoint(target.checkpoint, training=target.command == "fit")
        if target.command == "fit" and origin != target.run:
            claim(target.run)
            self.claimed = rank_zero_only.rank == 0
        if target.command == "fit":
            self.lock.acquire()

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Lightning's own, whose errors are about the options of this machine's devices."""
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except (ImportError, MisconfigurationException, TypeError, ValueError) as error:
            raise UserError(
                f"trainer: {error} (For accelerator, devices and strategy, `auto` takes what this machine has.)"
            ) from error
        started = max(os.environ.get(name, "1") for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"))
        if trainer.world_size == 1 and started != "1":  # Each would write to the same run.
            raise UserError(
                "This is one of several processes that torchrun or SLURM started, but would train alone: give it "
                "--trainer.devices, as many as a machine has of them, --trainer.num_nodes and --trainer.strategy ddp."
            )
        return trainer

    def after_instantiate_classes(self) -> None:
        if self.target.checkpoint:
            self.model.starting_weights = None  # the checkpoint's replace them
        if self.target.command == "fit":
            require_callbacks(self.trainer.callbacks, getattr(self.model.scheduler, "keywords", {}))


class RunConfig(SaveConfigCallback):
    """Writes `config.yaml` and `protocol.json` of a training into its folder."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Nothing yet: a checkpoint that is then refused must not change the config of the run that it is of."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            text = yaml.safe_dump(_sections(self.parser, self.config), sort_keys=False)
            run, data = Path(trainer.default_root_dir), trainer.datamodule
            replace_text(run / "config.yaml", text)
            write_protocol(run, len(data.sets["train"]), len(data.sets["val"]), data.validates_on_test)


def _restrict_configs() -> None:
    """Let configs name classes of allowed modules only, as judged by where a class is defined."""
    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=[*allowed.MODULES, *allowed.users_modules()],
        # Where any object will do, a class is refused or stays a dictionary; nothing is made of it.
        validate_subclass_spec_in_any=True,
        instantiate_subclass_spec_in_any=False,
        # Lightning allows parts of a config to be URLs.
        config_read_mode_fsspec_enabled=False,
    )


def _sections(parser: LightningArgumentParser, config: Any) -> dict[str, Any]:
    dumped = yaml.safe_load(parser.dump(config, skip_unset=False, format="yaml"))
    for place in ("logger", "default_root_dir"):
        dumped["trainer"].pop(place)
    return {name: dumped[name] for name in SECTIONS}


def _subclasses(base: type) -> set[type]:
    return {base}.union(*(_subclasses(child) for child in base.__subclasses__()))


def _resuming(argv: list[str], target: Plan) -> list[str]:
    """The options of a `fit` so that it goes on in the same run."""
    options = iter(argv[1:])
    kept = []
    for option in options:
        if option == "--ckpt_path":
            next(options)
        elif not option.startswith("--ckpt_path="):
            kept.append(option)
    # `last` is shorter, and means this run as long as no newer one has the same name.
    newest = plan(["fit", *kept, "--ckpt_path", "last"]).run
    return [*kept, "--ckpt_path", "last" if newest == target.run else str(target.run / "checkpoints" / "last.ckpt")]


def _command(command: str, options: list[str]) -> str:
    return f"python training.py {command} {shlex.join(options)}"


@rank_zero_only
def _say(text: str) -> None:
    print(text, flush=True)
