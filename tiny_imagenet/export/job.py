"""An export from the checkpoint to the file: write it under another name, check it, and only then rename it."""

import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from tiny_imagenet.cli.app import error_message
from tiny_imagenet.cli.logs import show_log
from tiny_imagenet.errors import UserError
from tiny_imagenet.export import check
from tiny_imagenet.export.formats import written
from tiny_imagenet.export.loaded import LoadedFile
from tiny_imagenet.export.network import ExportedNetwork
from tiny_imagenet.export.packages import FORMATS
from tiny_imagenet.export.smaller import in_8_bits
from tiny_imagenet.export.source import Source, read_source
from tiny_imagenet.files import FULL, remove_leftovers, replacing, size_text
from tiny_imagenet.progress import say


def main(options: Namespace, others: Sequence[str]) -> None:
    """Export, or exit with a message.

    Args:
        options: those of `export.__main__`.
        others: options of `training.py test`.
    """
    show_log()
    try:
        export(options, others)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        message = error_message(error)
        if message is None:
            raise
        sys.exit(f"error: {message}")


def export(options: Namespace, others: Sequence[str]) -> Path:
    """Write the file of a checkpoint, and return its path. Says on what, and how well, it was checked.

    Raises:
        UserError: the file does not answer as the network does, or can't be written. Nothing is left of it.
    """
    source = read_source(options.checkpoint, others)
    out = options.out or source.checkpoint.with_suffix(FORMATS[options.format].suffix)
    _require_writable(out, source)
    if (options.half or options.int8) and source.test_images() is None:
        raise UserError(f"--half and --int8 need the run's test images, to measure the accuracy: {source.missing}")
    network = ExportedNetwork(source.classifier, source.pipeline, options.half)
    precision = "float16" if options.half else "int8" if options.int8 else "float32"
    content = written(network, options.format, options.opset, {**source.metadata(), "precision": precision})
    if options.int8:
        with _temporary_files():
            content = in_8_bits(content, source)
    try:
        remove_leftovers(out)
        with replacing(out) as beside:
            beside.write_bytes(content)
            with LoadedFile(beside, options.format, torch.get_num_threads()) as file, _temporary_files():
                _check(source, file, exact=not (options.half or options.int8))
                speeds = check.speeds(source, file)
    except OSError as error:
        advice = "Free some space there, or choose" if error.errno in FULL else "Choose"
        raise UserError(
            f"{out} ({size_text(len(content))}) can't be written: {error.strerror}. {advice} another place with --out."
        ) from error
    say(f"{out}: {size_text(len(content))}, {speeds}.")
    return out


@contextmanager
def _temporary_files() -> Iterator[None]:
    """Say where the files of the body are, if they can't be written."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"Files in {tempfile.gettempdir()} can't be written: {error.strerror}. Free some space, or set TMPDIR."
        ) from error


def _check(source: Source, file: LoadedFile, exact: bool) -> None:
    """Say how a file's answers compare with the network's; raise UserError if they are too different.

    Args:
        exact: whether the answers must be the same, rather than as accurate.
    """
    if source.missing:
        say(f"Checked on noise instead of test images: {source.missing}")
    for number, agreement in enumerate(check.compare(source, file)):
        say(f"  {agreement}")
        if exact:
            check.require_same(agreement, native=number == 0)
    if not exact:
        say(f"  {check.require_accuracy(source, file)}")


def _require_writable(out: Path, source: Source) -> None:
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; give the name of a file.")
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}.")
    if out.exists() and out.samefile(source.checkpoint):
        raise UserError(f"--out {out} is the checkpoint itself; give another name.")
