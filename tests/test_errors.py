"""Errors that users can fix, recognised by what Python, torch and Lightning really raise."""

import errno
import io
import os
import pickle
import socket
import subprocess
import sys
from datetime import timedelta
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn
from torch.distributed import TCPStore

from tests.helpers.paths import ROOT
from tiny_imagenet.errors import UserError, did_you_mean, first_line, some, user_message

OPTIONS = ("model.width", "model.weights", "model.arch", "data.batch_size", "trainer.max_epochs")

# Nearest words


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("model.wdith", " Did you mean model.width?"),
        ("data.batchsize", " Did you mean data.batch_size?"),
        ("DATA.BATCH_SIZE", " Did you mean data.batch_size?"),
        ("batch", " Did you mean data.batch_size?"),
        ("xyzzy", ""),
        ("", ""),
    ],
)
def test_the_nearest_word(wrong, expected):
    assert did_you_mean(wrong, OPTIONS) == expected


def test_words_that_are_about_as_near_are_all_named_and_others_are_not():
    # Shares of equal letters: 10/11, 10/12 and 8/10, of which the last is more than 0.1 below the best.
    assert did_you_mean("abcde", ["abxde", "abcdexy", "abcdef"]) == " Did you mean abcdef or abcdexy?"
    assert did_you_mean("aab", ["aaa", "aac", "aad", "aae"]).count(" or ") == 2, "three at most"


def test_each_word_has_the_prefix():
    assert did_you_mean("a.b", ["a.c", "a.d"], prefix="--") == " Did you mean --a.c or --a.d?"
    assert did_you_mean("xyzzy", ["a", "b"], prefix="--", listed=2) == " Choose from: --a, --b."


def test_where_none_is_near_the_words_are_listed_if_wanted():
    words = ["a", "b", "c"]
    assert did_you_mean("xyzzy", words, listed=0) == ""
    assert did_you_mean("xyzzy", words, listed=3) == " Choose from: a, b, c."
    assert did_you_mean("xyzzy", words, listed=2) == " Choose from: a, b, … (3 in all)."
    assert did_you_mean("xyzzy", (word for word in words), listed=9) == " Choose from: a, b, c.", "and read once"
    assert did_you_mean("xyzzy", [], listed=5) == ""


def test_some_of_many():
    assert some([]) == ""
    assert some(range(5)) == "0, 1, 2, 3, 4"
    assert some(range(6)) == "0, 1, 2, 3, 4, … (6 in all)"
    assert some((f"{n}.jpg" for n in range(1234)), most=1) == "0.jpg, … (1,234 in all)"


def test_the_first_line_of_an_error_says_what_it_is():
    assert first_line(ValueError("too large\nby far")) == "too large"
    assert first_line(KeyError("loss")) == "KeyError: 'loss'"
    assert first_line(ZeroDivisionError("modulo by zero")) == "ZeroDivisionError: modulo by zero"
    assert first_line(AssertionError()) == "AssertionError"
    assert first_line(RuntimeError("\033[1m" + "x" * 1000)) == "\\x1b[1m" + "x" * 296


# Messages for real errors


def raised(action) -> Exception:
    with pytest.raises(Exception) as caught:
        action()
    return caught.value


def write_to_full_disk() -> None:
    with open("/dev/full", "w") as file:
        file.write("x")


def unpickle_code() -> None:
    content = io.BytesIO()
    torch.save({"x": SimpleNamespace(a=1)}, content)
    content.seek(0)
    torch.load(content, weights_only=True)


def stop_early() -> None:
    trainer = SimpleNamespace(callback_metrics={"val/loss": 1}, fast_dev_run=False, state=SimpleNamespace(fn="fit"))
    EarlyStopping("val/top7")._run_early_stopping_check(trainer)


def take_port_twice() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        TCPStore("127.0.0.1", server.getsockname()[1], world_size=2, is_master=True, wait_for_workers=False)


def wait_for_a_lost_process() -> None:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    store.wait(["never set"], timedelta(milliseconds=10))


def test_what_is_raised_for_the_user_is_told_as_it_is():
    assert user_message(UserError("do this")) == "do this"
    error = pl.utilities.exceptions.MisconfigurationException("no such device")
    assert user_message(error) == "no such device"


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (lambda: torch.empty(2**50), "tried to allocate"),
        (lambda: bytearray(2**62), "MemoryError"),
    ],
    ids=["torch", "Python"],
)
def test_a_full_memory_says_what_to_lower(action, reason):
    message = user_message(raised(action))
    assert message.startswith("out of memory: lower --data.batch_size, and keep the recipe's batch with --trainer.acc")
    assert reason in message and "\n" not in message


def test_a_full_gpu_says_what_to_lower():
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has …")
    assert user_message(error).endswith("(CUDA out of memory. Tried to allocate 2.00 GiB.)")


def test_a_checkpoint_that_could_run_code_is_not_opened():
    error = raised(unpickle_code)
    assert isinstance(error, pickle.UnpicklingError)
    assert "It could run code, so it is not opened." in user_message(error)


def test_weights_that_do_not_fit_name_the_first_difference():
    state = nn.Sequential(nn.Linear(2, 3)).state_dict()
    message = user_message(raised(lambda: nn.Sequential(nn.Linear(2, 4)).load_state_dict(state)))
    assert message.startswith("The checkpoint's weights do not fit the network: set the arch, stem, width and blocks")
    assert "size mismatch for 0.weight" in message and "[3, 2]" in message and "\n" not in message
    message = user_message(raised(lambda: nn.Sequential(nn.ReLU(), nn.Linear(2, 3)).load_state_dict(state)))
    assert 'Missing key(s) in state_dict: "1.weight", "1.bias".' in message


def test_a_full_disk_is_told_even_where_no_file_is_named():
    message = user_message(raised(write_to_full_disk))
    assert message.startswith("A file can't be written: No space left on device. Free some space, or use a folder on")
    assert message.endswith("add --ckpt_path last.")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_takes_nothing_names_the_file(number):
    message = user_message(OSError(number, os.strerror(number), b"runs/a/metrics.csv"))
    assert message.startswith(f"runs/a/metrics.csv can't be written: {os.strerror(number)}. Free some space")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE])
def test_a_file_that_cannot_be_read_or_written_is_named(number):
    assert user_message(OSError(number, os.strerror(number), "a.csv")) == f"a.csv: {os.strerror(number)}."


def test_a_folder_in_place_of_a_file_and_the_reverse_are_named(tmp_path):
    assert user_message(raised(lambda: open(tmp_path))) == f"{tmp_path}: Is a directory."
    (tmp_path / "file").touch()
    assert user_message(raised(lambda: open(tmp_path / "file" / "x"))) == f"{tmp_path}/file/x: Not a directory."


def test_a_path_that_no_file_can_have_is_named(tmp_path):
    assert user_message(raised(lambda: open(tmp_path / ("x" * 300)))) == f"{tmp_path}/{300 * 'x'}: File name too long."
    (tmp_path / "circle").symlink_to("circle")
    message = user_message(raised(lambda: open(tmp_path / "circle")))
    assert message == f"{tmp_path}/circle: Too many levels of symbolic links."
    assert user_message(OSError(errno.EISDIR, "Is a directory", 3)) == "A file: Is a directory.", "of a descriptor"


def test_a_name_that_is_too_long_and_a_link_to_itself_are_told(tmp_path):
    long, loop = tmp_path / ("x" * 300), tmp_path / "loop"
    loop.symlink_to(loop)
    assert user_message(raised(lambda: open(long))) == f"{long}: {os.strerror(errno.ENAMETOOLONG)}."
    assert user_message(raised(lambda: open(loop))) == f"{loop}: {os.strerror(errno.ELOOP)}."


def test_a_folder_that_was_deleted_while_tensorboard_wrote_is_told(tmp_path):
    events = tmp_path / "events.out.tfevents.1"
    assert str(events) in user_message(raised(lambda: open(events)))
    assert user_message(raised(lambda: open(os.fsencode(events)))).endswith(f"during the training: {events} is gone.")


def test_a_metric_that_is_watched_and_not_logged_is_told_in_lightning_s_words():
    message = user_message(raised(stop_early))
    assert message.startswith("Early stopping conditioned on metric `val/top7` which is not available")


def test_a_seed_out_of_bounds_names_its_option():
    assert user_message(raised(lambda: pl.seed_everything(-1))).startswith(
        "seed_everything: -1 is not in bounds, numpy"
    )


def test_a_validation_interval_longer_than_the_epoch_is_told_in_lightning_s_words():
    text = " `val_check_interval` (1000) must be less than or equal to the number of the training batches (8)."
    assert user_message(ValueError(text)) == text.strip()


def test_a_batch_of_one_image_says_how_to_avoid_it():
    error = raised(lambda: nn.BatchNorm2d(3)(torch.zeros(1, 3, 1, 1)))
    assert user_message(error).startswith("BatchNorm cannot normalise a batch of one image")


def test_a_port_in_use_names_the_option():
    message = user_message(raised(take_port_twice))
    assert message.startswith("The port that the processes meet at is in use: choose another --master_port. (")
    assert "\n" not in message


def test_a_lost_process_says_to_start_again():
    gloo = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1")
    for error in (raised(wait_for_a_lost_process), gloo):
        message = user_message(error)
        assert message.startswith("The connection to another process of this run is lost or was never made: ")
        assert "add --ckpt_path last. (" in message and "\n" not in message


def test_nccl_s_reason_is_told_with_its_first_line():
    error = torch.distributed.DistBackendError(
        "NCCL error in: a.cpp:1\nncclSystemError: …\nLast error:\nNo route\n to x"
    )
    assert user_message(error).endswith("(NCCL error in: a.cpp:1 NCCL says: No route to x)")


# Causes and bugs


@pytest.mark.parametrize(
    "bug",
    [
        KeyError("x"),
        ValueError("invalid literal"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "metrics.csv"),
        OSError(errno.EBADF, "Bad file descriptor"),
        None,
    ],
    ids=repr,
)
def test_a_bug_has_no_message(bug):
    assert user_message(bug) is None


def nested(*errors: Exception) -> Exception:
    """The last of the errors, each raised from the one before it."""
    *before, last = errors
    try:
        raise last from (nested(*before) if before else None)
    except Exception as error:
        return error


def test_the_first_cause_that_has_a_message_is_told():
    assert user_message(nested(UserError("inner"), RuntimeError("x"), KeyError("y"))) == "inner"
    assert user_message(nested(UserError("inner"), UserError("outer"))) == "outer"
    assert user_message(nested(UserError("inner"), ValueError("x"), UserError("outer"), KeyError("y"))) == "outer"
    assert user_message(nested(ValueError("inner"), KeyError("outer"))) is None


def test_what_was_handled_when_a_bug_showed_is_told():
    def clean_up_badly():
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "a.csv")
        finally:
            raise KeyError("state")

    assert user_message(raised(clean_up_badly)).startswith("a.csv can't be written")


def test_importing_it_imports_no_torch():
    code = "import sys, tiny_imagenet.errors; sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize(
    "compute",
    [
        lambda: float(10**400),
        lambda: torch.empty(10**400),
        lambda: torch.nn.functional.interpolate(torch.empty(1, 3, 2, 2), (10**400, 1), mode="bilinear", antialias=True),
    ],
)
def test_numbers_that_are_too_large_are_told_in_a_line(compute):
    with pytest.raises((OverflowError, TypeError)) as caught:
        compute()
    message = user_message(caught.value)
    assert message.startswith("A number among the options is too large: ") and "\n" not in message
