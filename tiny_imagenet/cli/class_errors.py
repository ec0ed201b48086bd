"""What a class that a config names has raised, as one line that names its option."""

import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import CheckpointIO, ClusterEnvironment, LayerSync, Precision
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchvision.transforms import v2

from tiny_imagenet.cli.option_errors import KEY
from tiny_imagenet.errors import UserError, first_line

# Which option a class belongs to, by its base class.
OPTIONS = {
    Callback: "trainer.callbacks",
    Optimizer: "model.optimizer",
    LRScheduler: "model.scheduler",
    Logger: "trainer.logger",
    Profiler: "trainer.profiler",
    Strategy: "trainer.strategy",
    (Precision, CheckpointIO, ClusterEnvironment, LayerSync): "trainer.plugins",
    v2.Transform: "data.augment",
}
# Options whose classes call training steps: what such a step raises is not about them.
AROUND = ("trainer.strategy", "trainer.plugins")
MAKING = ("__init__", "setup")
KNOWN = ("lightning.", "torch.", "torchvision.", "tiny_imagenet.")
PACKAGE = str(Path(__file__).parents[1])
PIP = re.compile(r"pip install [^`'\"\n]*(?:'[^']+')?")


def class_error_message(error: BaseException) -> str | None:
    """What a library's class says of its options, in its constructor, a hook or its first step.

    None where no such class raised the error, and where it was raised by code of this project's or of the user's, who
    needs its traceback.
    """
    root, crossed = _root(error), False
    for depth, frame in enumerate(_frames(root)):
        instance, is_making = frame.f_locals.get("self"), frame.f_code.co_name in MAKING
        if PACKAGE in frame.f_code.co_filename and (depth == 0 or not is_making):
            return None
        if option := _option(instance):
            module = type(instance).__module__
            # Lightning calls a training step within a step of the optimizer, of the strategy and its plugins.
            is_around = option in AROUND or (crossed and module.startswith("torch."))
            if not module.startswith(KNOWN) or (is_around and not is_making):
                return None
            return f"{option}: {type(instance).__name__}: {_reason(error)}"
        crossed = crossed or frame.f_globals.get("__name__", "").startswith("lightning.")
    return None


def names_no_option(error: BaseException) -> bool:
    """Whether an error has a message for the user that does not say which option it is about."""
    chain = list(_chain(error))
    return any(isinstance(each, ModuleNotFoundError | MisconfigurationException) for each in chain) and not any(
        isinstance(each, UserError) for each in chain
    )


def constructor_error_message(error: BaseException) -> str | None:
    """Why a class that a config names could not be made; None where this project's own code raised the error."""
    if message := class_error_message(error):
        return message
    root, where = _root(error), ".".join(dict.fromkeys(KEY.findall(str(error)))) or "config"
    return None if PACKAGE in raised_in(root) else f"{where}: a class refuses its options: {_reason(error)}"


def raised_in(error: BaseException) -> str:
    """The file whose code raised an error."""
    return next((frame.f_code.co_filename for frame in _frames(error)), "")


def _option(instance: Any) -> str | None:
    """The option that an instance is one of."""
    return next((option for kinds, option in OPTIONS.items() if isinstance(instance, kinds)), None)


def _reason(error: BaseException) -> str:
    if match := PIP.search("\n".join(map(str, _chain(error)))):
        return f"it needs a package that is not installed: {match[0].strip()}"
    return first_line(_root(error))


def _root(error: BaseException) -> BaseException:
    """The first cause of an error, or a later one that is meant for users."""
    chain = list(_chain(error))
    return next((each for each in chain if isinstance(each, MisconfigurationException)), chain[-1])


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _frames(error: BaseException) -> Iterator[FrameType]:
    """The calls in which an error was raised, the innermost first."""
    return reversed([frame for frame, _ in traceback.walk_tb(error.__traceback__)])
