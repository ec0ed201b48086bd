"""What is logged to stderr: the project's own log, without irrelevant notes and warnings of libraries."""

import logging
import sys
import warnings
from contextlib import suppress

from lightning.pytorch.utilities.rank_zero import rank_zero_only
from tqdm import tqdm

from tiny_imagenet.errors import legible_lines

# Warnings of Lightning's and torch's that do not apply here: the beginning of each, as a regular expression.
IRRELEVANT = (
    # The arguments are the same command line, worked out; sys.argv keeps it for the launcher of further processes.
    "LightningCLI's args parameter",
    # A batch is one indexed read of a memory map: worker processes would not make it faster.
    ".*does not have many workers",
    # What is logged has been summed over the ranks already.
    "It is recommended to use `self.log",
    # The sampler resumes an epoch where it was.
    ".*your dataloader is not resumable",
    # An epoch's figures are always logged.
    "The number of training batches .* is smaller than the logging interval",
    # Frozen layers are meant to be in eval mode.
    "Found .* in eval mode",
    ".*isinstance\\(treespec, LeafSpec\\)",
)


def show_log() -> None:
    """Show the project's log, of the first process only, without irrelevant warnings of libraries."""
    for message in IRRELEVANT:
        warnings.filterwarnings("ignore", message=message)
    # What they say of devices, seeds and restored states, `Progress` says in one line.
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # The first process may be waiting forever for a lost one; Lightning's thread then kills all that are left.
    launcher = logging.getLogger("lightning.fabric.strategies.launchers.subprocess_script")
    launcher.addFilter(_with_advice)
    launcher.setLevel(logging.INFO)
    package = logging.getLogger("tiny_imagenet")
    package.handlers = [_Stderr()]
    package.propagate = False  # a library, such as Alembic for MLflow, may give the root a handler, which prints too
    package.setLevel(logging.INFO if rank_zero_only.rank == 0 else logging.ERROR)


class _Stderr(logging.Handler):
    """Writes above a progress bar; a terminal or pipe that is gone is no error."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, ValueError):
            tqdm.write(legible_lines(self.format(record)), file=sys.stderr)


def _with_advice(note: logging.LogRecord) -> bool:
    if "Forcefully terminating" in note.getMessage():
        note.msg = f"{note.msg}\nIts reason may be printed above. To resume the training, add --ckpt_path last."
    return True
