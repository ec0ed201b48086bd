"""Errors that users can fix, and what to tell them. Torch is imported inside functions only."""

import difflib
import errno
import os
import pickle
import re
import unicodedata
from collections.abc import Iterable

OUT_OF_MEMORY = (
    "out of memory: lower --data.batch_size, and keep the recipe's batch with --trainer.accumulate_grad_batches. ({})"
)
LONGEST_WORD = 200  # characters that are compared
MISFIT = (
    "The checkpoint's weights do not fit the network: set the arch, stem, width and blocks that it was trained with, "
    "or start a new run with --model.weights. ({})"
)
BIDI = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # characters that reverse what follows them


class UserError(Exception):
    """An error that the user can fix. Raised where it is found; `tiny_imagenet.cli.main` prints it without a traceback.

    The message says what is wrong, where, and what to do.
    """


def user_message(error: BaseException | None) -> str | None:
    """The message for the user of an exception, or of the first of its causes that has one; None for a bug."""
    while error is not None:
        if (message := _message(error)) is not None:
            return message
        error = error.__cause__ or error.__context__
    return None


def did_you_mean(wrong: str, known: Iterable[str], prefix: str = "", listed: int = 0) -> str:
    """ " Did you mean a or b?", for the known words nearest to a wrong one.

    Args:
        prefix: put before each word, such as `--`.
        listed: how many of the known words to list where none is near; 0 lists none.
    """
    known, wrong = list(dict.fromkeys(known)), str(wrong)[:LONGEST_WORD]
    likeness = {word: difflib.SequenceMatcher(None, word.lower(), wrong.lower()).ratio() for word in known}
    least = max(0.6, max(likeness.values(), default=0) - 0.1)
    near = sorted((word for word in known if likeness[word] >= least), key=likeness.get, reverse=True)
    if not near and len(wrong) >= 3:
        near = [word for word in known if wrong.lower() in word.lower()]
    if near:
        return f" Did you mean {' or '.join(prefix + word for word in near[:3])}?"
    return f" Choose from: {some((prefix + word for word in known), listed)}." if listed and known else ""


def some(items: Iterable[object], most: int = 5) -> str:
    """The first few items, and how many there are in all: "a, b, … (7 in all)"."""
    items = list(items)
    return ", ".join(map(str, items[:most])) + (f", … ({len(items):,} in all)" if len(items) > most else "")


def first_line(error: BaseException) -> str:
    """The first line of an error's message, and its kind, if the message alone says little: KeyError: 'loss'."""
    line = (str(error).strip().splitlines() or [""])[0][:300]
    if not line or isinstance(error, LookupError | AttributeError | TypeError | ArithmeticError | AssertionError):
        line = f"{type(error).__name__}: {line}".removesuffix(": ")
    return legible(line)


def legible(text: str) -> str:
    r"""One line that any terminal, file and page takes: control characters are escaped, and so are the bytes of a file
    name that are not UTF-8 (\xe9), whose character nobody knows."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def legible_lines(text: str) -> str:
    """As `legible`, of text whose line breaks are meant."""
    return "\n".join(map(legible, text.split("\n")))


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # such a byte, as os.fsdecode gives it
        return f"\\x{ord(character) - 0xDC00:x}"
    steers = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(character) in BIDI
    return character.encode("unicode_escape").decode() if steers else character


def _message(error: BaseException) -> str | None:
    import torch
    from lightning.pytorch.utilities.exceptions import MisconfigurationException

    text = str(error)
    match error:
        case UserError() | MisconfigurationException():
            return text
        case torch.OutOfMemoryError() | MemoryError():
            return OUT_OF_MEMORY.format(text.splitlines()[0] if text else "MemoryError")
        case RuntimeError() if "can't allocate memory" in text:  # on a CPU
            return OUT_OF_MEMORY.format(text.rpartition("DefaultCPUAllocator: ")[2].splitlines()[0])
        case pickle.UnpicklingError():
            return "The checkpoint holds more than weights and plain values. It could run code, so it is not opened."
        case RuntimeError() if text.startswith("Error(s) in loading state_dict"):
            return MISFIT.format(text.splitlines()[1].strip())
        case ModuleNotFoundError() if found := re.search(r"pip install [^`'\".]*(?:'[^']+')?", text):
            return f"A class that was asked for needs a package that is not installed: {found[0].strip()}"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EROFS):
            return (
                f"{_file(error)} can't be written: {error.strerror}. Free some space, or use a folder on another disk. "
                "To resume a training that has a checkpoint, add --ckpt_path last."
            )
        case OSError(
            errno=errno.EACCES | errno.EPERM | errno.EIO | errno.ESTALE | errno.EISDIR | errno.ENOTDIR
            | errno.ENAMETOOLONG | errno.ELOOP
        ):  # fmt: skip
            return f"{_file(error)}: {error.strerror}."
        case OverflowError() | TypeError() if re.search("int too (large|big) to convert|Overflow when unpacking", text):
            return f"A number among the options is too large: {text.splitlines()[0]}."
        case RuntimeError() if text.startswith("Early stopping conditioned on metric"):
            return text
        case ValueError() if "is not in bounds, numpy accepts" in text:
            return f"seed_everything: {text}."
        case ValueError() if text.strip().startswith("`val_check_interval`"):
            return text.strip()
        case ValueError() if text.startswith("Expected more than 1 value per channel"):
            return (
                "BatchNorm cannot normalise a batch of one image where the network has shrunk it to one pixel: use "
                "--data.batch_size 3 or more, larger images, or --model.stem small."
            )
        case FileNotFoundError(filename=gone) if "tfevents" in str(gone):
            return f"The run's folder was moved or deleted during the training: {os.fsdecode(gone)} is gone."
        case RuntimeError() if "EADDRINUSE" in text:
            return f"The port that the processes meet at is in use: choose another --master_port. ({_line(text)})"
        case RuntimeError() if _is_connection_error(error):
            return (
                "The connection to another process of this run is lost or was never made: that process was killed, "
                "failed with its own message, or its machine is gone. Start all processes again; to resume a training, "
                f"add --ckpt_path last. ({_line(text)})"
            )
    return None


def _file(error: OSError) -> str:
    named = error.filename and not isinstance(error.filename, int)  # opened by a descriptor
    return os.fsdecode(error.filename) if named else "A file"


def _line(text: str) -> str:
    """The first line of an error, and NCCL's reason, which follows some lines later."""
    cause = " ".join(text.partition("Last error:")[2].split())
    return text.splitlines()[0][:200] + (f" NCCL says: {cause[:300]}" if cause else "")


def _is_connection_error(error: RuntimeError) -> bool:
    import torch

    # NCCL and the store raise DistError; gloo, on CPUs, raises a plain RuntimeError from its own source files.
    kinds = (torch.distributed.DistError,) if torch.distributed.is_available() else ()
    return isinstance(error, kinds) or "gloo/transport" in str(error)
