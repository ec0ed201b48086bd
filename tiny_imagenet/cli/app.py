"""The command line's process: its errors without tracebacks, its exit status, and what it says at the end.

`arguments.plan` turns what the user typed into LightningCLI's own arguments, and `lightning_cli.Cli` runs them.
"""

import inspect
import signal
import sys
import threading
from pathlib import Path

import torch
from jsonargparse import ArgumentError
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch.optim.lr_scheduler import LRScheduler

from tiny_imagenet.callbacks import Predictions
from tiny_imagenet.callbacks.predictions import UNREADABLE
from tiny_imagenet.cli.arguments import Plan, default_options, plan, resuming
from tiny_imagenet.cli.class_errors import class_error_message, names_no_option
from tiny_imagenet.cli.lightning_cli import Cli
from tiny_imagenet.cli.logs import show_log
from tiny_imagenet.cli.option_errors import option_error_message
from tiny_imagenet.cli.printed import tool_command, training_command
from tiny_imagenet.data import ImageDataModule
from tiny_imagenet.data.augment import Augmentation
from tiny_imagenet.data.images.unreadable import named
from tiny_imagenet.errors import UserError, legible_lines, user_message
from tiny_imagenet.progress import say
from tiny_imagenet.run.checkpoint_files import checkpoint_to_test
from tiny_imagenet.run.folder import RunLock
from tiny_imagenet.run.stop_signals import Interrupted
from tiny_imagenet.threads import Register

# The kinds of classes that a config names, to find the nearest right name.
NAMED_IN_CONFIGS = (ImageDataModule, Augmentation, torch.optim.Optimizer, LRScheduler, Callback, Logger)


def main(argv: list[str]) -> None:
    """Run a command of `training.py`; for the exit status, see `cli.main`."""
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
        message = error_message(error)
        if message is None:
            raise
        print(f"error: {legible_lines(message)}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ArgumentError) else 1)


def error_message(error: Exception) -> str | None:
    """The message for the user of an error; None for a bug."""
    of_class = class_error_message(error)
    message = (of_class if names_no_option(error) else None) or user_message(error) or of_class
    if message is None and isinstance(error, ArgumentError):
        names = [option.replace("data.init_args.", "data.") for option in default_options()]
        return option_error_message(error, names, {base.__name__: _class_names(base) for base in NAMED_IN_CONFIGS})
    return message


def _run(target: Plan) -> None:
    lock, register = RunLock(target.run), Register()
    try:
        cli = Cli(target, lock, register)
    finally:
        register.leave()
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
    if unreadable:
        _tell_unreadable(unreadable, target.run, cli.datamodule.on_bad_images == "skip")


def _tell_unreadable(unreadable: dict[str, str], run: Path, skip: bool) -> None:
    """Say which images have no prediction: an error, unless they may be skipped."""
    listed = f" {run / UNREADABLE} lists them." if (run / UNREADABLE).exists() else ""
    message = f"{len(unreadable):,} image(s) could not be read and have no prediction: {named(unreadable)}.{listed}"
    if skip:
        _say(message)
    elif rank_zero_only.rank != 0:
        sys.exit(1)  # the first process prints them
    else:
        raise UserError(message)


def _class_names(base: type) -> set[str]:
    """The names of a class and all its subclasses that can be instantiated."""
    own = set() if inspect.isabstract(base) else {base.__name__}
    return own.union(*(_class_names(child) for child in base.__subclasses__()))


_say = rank_zero_only(say)
