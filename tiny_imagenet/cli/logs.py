"""What is said on stderr: the project's own log, and none of the libraries' notes that help nobody."""

import logging
import warnings

from lightning.pytorch.utilities.rank_zero import rank_zero_only


def show_log() -> None:
    """Show the project's log, of the first process only, and leave out notes of libraries that do not hold here."""
    # The arguments are the same command line, worked out; sys.argv keeps it for the launcher of further processes.
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    # A batch is one indexed read of a memory map: worker processes would not make it faster.
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    # What is logged has been added up over the ranks already.
    warnings.filterwarnings("ignore", message="It is recommended to use `self.log")
    # The sampler continues a resumed epoch where it was.
    warnings.filterwarnings("ignore", message=".*your dataloader is not resumable")
    # Frozen layers are meant to be.
    warnings.filterwarnings("ignore", message="Found .* in eval mode")
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\)")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda note: "Tip:" not in note.getMessage())
    # The first process may be waiting for a lost one for ever; Lightning's thread then kills all that are left.
    logging.getLogger("lightning.fabric.strategies.launchers.subprocess_script").addFilter(_with_advice)
    package = logging.getLogger("tiny_imagenet")
    package.handlers = [logging.StreamHandler()]
    package.setLevel(logging.INFO if rank_zero_only.rank == 0 else logging.ERROR)


def _with_advice(note: logging.LogRecord) -> bool:
    if "Forcefully terminating" in note.getMessage():
        note.msg = f"{note.msg}\nIt may have said why above. A training goes on with --ckpt_path last."
    return True
