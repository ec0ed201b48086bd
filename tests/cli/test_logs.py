"""What is logged to stderr, and which warnings of libraries are left out."""

import inspect
import logging
import re
import sys
import warnings

import pytest
from lightning.fabric.strategies.launchers import subprocess_script
from lightning.pytorch import cli
from lightning.pytorch.loops import fit_loop, training_epoch_loop
from lightning.pytorch.trainer.connectors import data_connector
from lightning.pytorch.trainer.connectors.logger_connector import logger_connector, result
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from tiny_imagenet.cli.logs import IRRELEVANT, show_log

# As Lightning 2.6 and torch 2.15 word them: one for each of IRRELEVANT, in its order.
LEFT_OUT = (
    "LightningCLI's args parameter is intended to run from within Python like if it were from the command line.",
    "The 'train_dataloader' does not have many workers which may be a bottleneck. Consider increasing the value of "
    "the `num_workers` argument` to `num_workers=15` in the `DataLoader` to improve performance.",
    "It is recommended to use `self.log('val/top1', ..., sync_dist=True)` when logging on epoch level in distributed "
    "setting to accumulate the metric across devices.",
    "You're resuming from a checkpoint that ended before the epoch ended and your dataloader is not resumable.",
    "The number of training batches (8) is smaller than the logging interval Trainer(log_every_n_steps=50).",
    "Found 12 module(s) in eval mode at the start of training. This may lead to unexpected behavior.",
    "`isinstance(treespec, LeafSpec)` is deprecated, use `isinstance(treespec, TreeSpec) and treespec.is_leaf()`.",
)
KEPT = (
    "Detected call of `lr_scheduler.step()` before `optimizer.step()`.",
    "The dataset: LightningCLI's args parameter",
)
LIBRARIES = ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.strategies.launchers.subprocess_script")


@pytest.fixture(autouse=True)
def as_before():
    """Leave loggers and filters of warnings as they were."""
    libraries = [logging.getLogger(name) for name in LIBRARIES]
    filters = [logger.filters[:] for logger in libraries]
    with warnings.catch_warnings():
        yield
    for logger, before in zip(libraries, filters, strict=True):
        logger.filters = before


@pytest.fixture
def notes():
    """What Lightning logs of its own, as the loggers let it through."""

    class Keep(logging.Handler):
        def emit(self, note: logging.LogRecord) -> None:
            kept.append(note.getMessage())

    kept, handler, loggers = [], Keep(), [logging.getLogger(name) for name in LIBRARIES]
    for logger in loggers:
        logger.addHandler(handler)
    yield kept
    for logger in loggers:
        logger.removeHandler(handler)


def shown(*messages: str) -> list[str]:
    """Which of these warnings are shown."""
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        show_log()
        for message in messages:
            warnings.warn(message, UserWarning, stacklevel=1)
    return [str(warning.message) for warning in record]


@pytest.mark.parametrize(("number", "message"), list(enumerate(LEFT_OUT)))
def test_an_irrelevant_warning_is_left_out_by_its_own_pattern(number, message, monkeypatch):
    assert not shown(message)
    monkeypatch.setattr("tiny_imagenet.cli.logs.IRRELEVANT", IRRELEVANT[:number] + IRRELEVANT[number + 1 :])
    assert shown(message) == [message]


def test_there_is_a_message_for_each_pattern():
    assert len(LEFT_OUT) == len(IRRELEVANT)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (cli, "LightningCLI's args parameter is"),
        (data_connector, "does not have many workers"),
        (result, "It is recommended to use `self.log("),
        (training_epoch_loop, "your dataloader is not resumable"),
        (fit_loop, "module(s) in eval mode"),
        (subprocess_script, "Forcefully terminating"),
        (logger_connector, "Tip:"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_lightning_still_words_them_so(module, words):
    source = re.sub(r'"\n\s*f?"', "", inspect.getsource(module))  # parts of one string
    assert words in source, f"{module.__name__} no longer says {words!r}"


def test_other_warnings_are_shown():
    assert shown(*KEPT) == list(KEPT)


def test_notes_of_lightning_s_are_left_out_and_its_warnings_are_kept(notes):
    show_log()
    log = logging.getLogger(LIBRARIES[0])
    log.info("💡 Tip: install another package")
    log.info("GPU available: False, used: False")
    log.warning("The devices differ.")
    assert notes == ["The devices differ."]


def test_where_lightning_kills_the_processes_that_are_left_it_is_told_how_to_resume(notes):
    show_log()
    log = logging.getLogger(LIBRARIES[1])
    log.warning("Forcefully terminating all processes.")
    log.warning("Rank 1 has ended.")
    assert notes[0].startswith("Forcefully terminating all processes.\n") and "--ckpt_path last" in notes[0]
    assert notes[1] == "Rank 1 has ended."


@pytest.mark.parametrize(("rank", "expected"), [(0, ["a note", "an error"]), (1, ["an error"]), (3, ["an error"])])
def test_notes_come_from_the_first_process_and_errors_from_all(monkeypatch, capsys, rank, expected):
    monkeypatch.setattr(rank_zero_only, "rank", rank)
    logging.getLogger().addHandler(logging.StreamHandler(sys.stderr))  # as an old MLflow does
    show_log()
    log = logging.getLogger("tiny_imagenet.run.folder")
    log.debug("a detail")
    log.info("a note")
    log.error("an error")
    assert capsys.readouterr().err.splitlines() == expected


def test_shown_twice_a_note_is_written_once(capsys):
    show_log()
    show_log()
    logging.getLogger("tiny_imagenet").warning("a note")
    assert capsys.readouterr().err.splitlines() == ["a note"]
