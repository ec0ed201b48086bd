"""Which settings may change when a run is resumed."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tiny_imagenet.errors import UserError
from tiny_imagenet.run.config_changes import flat, require_resumable

RUN = Path("runs/a/version_0")
EMA = {"class_path": "tiny_imagenet.callbacks.EMA", "init_args": {"decay": 0.9}}
STOPPING = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val/top1"}}
CONFIG = {
    "seed_everything": 42,
    "trainer": {"max_epochs": 2, "callbacks": None},
    "model": {
        "arch": "resnet18",
        "stem": "small",
        "width": 1.0,
        "blocks": None,
        "freeze": [],
        "dropout": 0.0,
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.9}},
        "scheduler": {"class_path": "tiny_imagenet.optim.WarmupCosine", "init_args": {"warmup": 5}},
        "scheduler_interval": "epoch",
    },
    "data": {"class_path": "tiny_imagenet.data.TinyImageNetDataModule", "init_args": {"batch_size": 128}},
}

DEFAULTS = flat(CONFIG) | {
    "data.init_args.on_bad_images": "error",
    "data.init_args.balance": "none",
    "model.optimizer.init_args.nesterov": True,
}


def changed(key: str, value: Any) -> dict[str, Any]:
    """The config with another value at a dotted key."""
    *folders, name = key.split(".")
    config = inner = deepcopy(CONFIG)
    for folder in folders:
        inner = inner[folder]
    inner[name] = value
    return config


def test_an_unchanged_config_is_resumed_in_silence(caplog):
    require_resumable(CONFIG, deepcopy(CONFIG), RUN, DEFAULTS)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("model.arch", "resnet34", "model.arch: resnet18 -> resnet34"),
        ("model.stem", "half", "model.stem: small -> half"),
        ("model.width", 0.5, "model.width: 1.0 -> 0.5"),
        ("model.blocks", [1, 1, 1], "model.blocks: None -> [1, 1, 1]"),
        ("model.freeze", ["conv1"], "model.freeze: [] -> ['conv1']"),
        ("seed_everything", 7, "seed_everything: 42 -> 7"),
        ("data.init_args.balance", "sampling", "data.init_args.balance: none -> sampling"),
        (
            "data.class_path",
            "tiny_imagenet.data.CIFAR10DataModule",
            "data.class_path: tiny_imagenet.data.TinyImageNetDataModule -> tiny_imagenet.data.CIFAR10DataModule",
        ),
        (
            "model.optimizer.class_path",
            "torch.optim.Adam",
            "model.optimizer.class_path: torch.optim.SGD -> torch.optim.Adam",
        ),
        ("model.optimizer.init_args.lr", 0.2, "model.optimizer.init_args.lr: 0.1 -> 0.2"),
        ("model.optimizer.init_args.nesterov", True, "model.optimizer.init_args.nesterov: None -> True"),
        ("model.scheduler.init_args", {}, "model.scheduler.init_args.warmup: 5 -> None"),
        ("model.scheduler_interval", "step", "model.scheduler_interval: epoch -> step"),
    ],
)
def test_a_setting_that_the_checkpoint_depends_on_may_not_change(key, value, line, caplog):
    with pytest.raises(UserError) as caught:
        require_resumable(CONFIG, changed(key, value), RUN, DEFAULTS)
    assert str(caught.value) == (
        f"Cannot resume {RUN}: these settings changed: {line}. Restore them, or start a new run without --ckpt_path, "
        "from its weights if you like (--model.weights); --name keeps runs apart."
    )
    assert not caplog.messages


def test_all_that_may_not_change_is_told_and_nothing_else():
    now = changed("model.optimizer.init_args", {"lr": 0.2})
    now["trainer"]["max_epochs"] = 3
    now["seed_everything"] = 1
    with pytest.raises(UserError) as caught:
        require_resumable(CONFIG, now, RUN, DEFAULTS)
    told = str(caught.value).partition("changed: ")[2].partition(". Restore")[0]
    assert told.split("; ") == [
        "model.optimizer.init_args.lr: 0.1 -> 0.2",
        "model.optimizer.init_args.momentum: 0.9 -> None",
        "seed_everything: 42 -> 1",
    ]


@pytest.mark.parametrize("scheduler", [None, {"class_path": "tiny_imagenet.optim.WarmupCosine", "init_args": {}}])
def test_a_schedule_that_is_dropped_or_loses_its_arguments_is_refused(scheduler):
    with pytest.raises(UserError, match=r"model\.scheduler\.init_args\.warmup: 5 -> None"):
        require_resumable(CONFIG, changed("model.scheduler", scheduler), RUN, DEFAULTS)


def test_harmless_changes_are_logged_in_one_note(caplog):
    now = changed("trainer.max_epochs", 3)
    now["model"]["dropout"] = 0.1
    now["data"]["init_args"]["batch_size"] = 64  # whose effect on the position is checked elsewhere
    require_resumable(CONFIG, now, RUN, DEFAULTS)
    assert caplog.messages == [
        f"Resuming {RUN} with a changed config:\n  data.init_args.batch_size: 128 -> 64\n"
        "  model.dropout: 0.0 -> 0.1\n  trainer.max_epochs: 2 -> 3"
    ]


def test_a_setting_of_an_older_version_that_is_gone_is_logged_and_one_that_was_null_is_not(caplog):
    require_resumable(CONFIG | {"old": {"a": 1, "b": None}}, CONFIG, RUN, DEFAULTS)
    assert caplog.messages == [f"Resuming {RUN} with a changed config:\n  old.a: 1 -> None"]


def test_an_option_that_an_older_version_did_not_have_is_logged_unless_it_has_its_default(caplog):
    for value in ("error", "skip"):
        require_resumable(CONFIG, changed("data.init_args.on_bad_images", value), RUN, DEFAULTS)
    require_resumable(CONFIG, changed("data.init_args.balance", "none"), RUN, DEFAULTS)
    assert caplog.messages == [f"Resuming {RUN} with a changed config:\n  data.init_args.on_bad_images: error -> skip"]
    with pytest.raises(UserError, match="nesterov: None -> True"):
        require_resumable(CONFIG, changed("model.optimizer.init_args.nesterov", True), RUN, DEFAULTS)


@pytest.mark.parametrize("now", [EMA, [STOPPING, EMA]])
@pytest.mark.parametrize("before", [[EMA], EMA, None, [STOPPING]])
def test_an_average_may_be_written_otherwise_or_begin_later(before, now, caplog):
    require_resumable(changed("trainer.callbacks", before), changed("trainer.callbacks", now), RUN, DEFAULTS)
    assert bool(caplog.messages) == (before != now)
    start = f"Resuming {RUN} with a changed config:\n  trainer.callbacks"
    assert all(message.startswith(start) for message in caplog.messages)


def test_a_config_without_a_trainer_is_compared(caplog):
    without, averaged = {"seed_everything": 42}, {"seed_everything": 42, "trainer": {"callbacks": [EMA]}}
    require_resumable(without, averaged, RUN, DEFAULTS)
    assert caplog.messages == [f"Resuming {RUN} with a changed config:\n  trainer.callbacks: None -> {[EMA]}"]


@pytest.mark.parametrize("callbacks", [3, "EarlyStopping", ["EarlyStopping", 3], [{"class_path": None}, {}]])
def test_callbacks_that_training_would_not_have_written_are_logged_as_changed(callbacks, caplog):
    require_resumable(changed("trainer.callbacks", callbacks) | {1: 2}, CONFIG, RUN, DEFAULTS)
    assert caplog.messages == [
        f"Resuming {RUN} with a changed config:\n  1: 2 -> None\n  trainer.callbacks: {callbacks} -> None"
    ]


def test_a_nested_config_by_dotted_names():
    assert flat({"a": {"b": {"c": 1}, "d": [{"e": 2}]}, "f": None}) == {"a.b.c": 1, "a.d": [{"e": 2}], "f": None}
    assert flat({}) == {}
