"""Options of the Trainer and callbacks that are refused before a training begins."""

import pytest
from lightning.pytorch import callbacks
from lightning.pytorch.callbacks import Callback

from tiny_imagenet.callbacks import EMA, EpochStatistics
from tiny_imagenet.cli.unsupported import require_supported_callbacks, require_supported_options
from tiny_imagenet.errors import UserError
from tiny_imagenet.run.checkpointing import RunCheckpoint

SUPPORTED = {
    "barebones": False,
    "precision": None,
    "enable_checkpointing": None,
    "use_distributed_sampler": False,
    "overfit_batches": 0.0,
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
}
NEAREST = r"EarlyStopping: nothing logs the metric 'val/topp1'\. Did you mean val/top1\b"


class OfTheUser(Callback):
    """May log anything."""


def stopping_on(metric: str) -> Callback:
    return callbacks.EarlyStopping(metric, mode=mode_of(metric))


def mode_of(metric: str) -> str:
    return "max" if "top" in metric else "min"


# Options of the Trainer


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"enable_checkpointing": True},
        {"accumulate_grad_batches": 8},
        {"precision": "32-true"},
        {"precision": "bf16-mixed"},
        {"check_val_every_n_epoch": None},
        {"overfit_batches": 0},
    ],
)
def test_supported_options_pass(options):
    require_supported_options(SUPPORTED | options)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("use_distributed_sampler", True, "would replace the samplers .* They divide the images between devices"),
        ("overfit_batches", 2, "would replace the samplers .* set trainer.limit_train_batches"),
        ("barebones", True, "would leave out the checkpoints .* python -m tiny_imagenet.benchmark$"),
        ("overfit_batches", 0.1, "would replace the samplers"),
        ("precision", "64-true", ".* 64-true keeps the weights in another type .* Use 32-true"),
        ("precision", 64, ".* keeps the weights in another type"),
        ("precision", "bf16-true", ".* keeps the weights in another type"),
        ("accumulate_grad_batches", 0, "must be at least 1, not 0"),
        ("check_val_every_n_epoch", -1, "must be at least 1, not -1"),
    ],
)
def test_an_unsupported_option_is_refused_by_name(option, value, message):
    with pytest.raises(UserError, match=rf"^trainer\.{option}:? ?{message}"):
        require_supported_options(SUPPORTED | {option: value})


def test_a_run_without_checkpoints_is_refused():
    with pytest.raises(UserError, match=r"^trainer\.enable_checkpointing: a run .* --trainer\.fast_dev_run true$"):
        require_supported_options(SUPPORTED | {"enable_checkpointing": False})


# Callbacks


def test_supported_callbacks_pass():
    used = [EMA(), EpochStatistics(), RunCheckpoint(), callbacks.LearningRateMonitor(), stopping_on("val/loss")]
    require_supported_callbacks(used, {})
    with pytest.raises(UserError, match="a run with BatchSizeFinder cannot be resumed"):  # one of many is enough
        require_supported_callbacks([*used, callbacks.BatchSizeFinder()], {})


@pytest.mark.parametrize(
    ("callback", "instead"),
    [
        (callbacks.StochasticWeightAveraging(swa_lrs=0.1), "EMA averages the weights"),
        (callbacks.GradientAccumulationScheduler({0: 2}), r"Set trainer\.accumulate_grad_batches"),
        (callbacks.BackboneFinetuning(), r"model\.freeze with model\.unfreeze_at"),
        (callbacks.ModelPruning("l1_unstructured"), r"For a smaller network set model\.width"),
        (callbacks.LearningRateFinder(), r"configs/sweeps/learning_rate\.yaml"),
        (callbacks.BatchSizeFinder(), r"configs/sweeps/batch_size\.yaml"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Callback) else "",
)
def test_a_callback_that_cannot_be_resumed_is_refused(callback, instead):
    with pytest.raises(UserError, match=f"a run with {type(callback).__name__} cannot be resumed exactly. {instead}"):
        require_supported_callbacks([EMA(), callback], {})


def test_a_user_s_callback_of_such_a_kind_is_refused_too():
    class Finder(callbacks.LearningRateFinder):
        pass

    with pytest.raises(UserError, match="a run with Finder cannot be resumed"):
        require_supported_callbacks([Finder()], {})


# Metrics that are watched


@pytest.mark.parametrize("metric", ["train/loss", "val/top5", "lr", "seconds", "images_per_s", "lr-SGD", "lr-SGD/pg2"])
def test_a_metric_that_is_logged_may_be_watched(metric):
    require_supported_callbacks([stopping_on(metric)], {"monitor": metric, "mode": mode_of(metric)})
    for used, schedule in (([stopping_on(f"x{metric}")], {}), ([], {"monitor": f"x{metric}"})):
        with pytest.raises(UserError, match=f"nothing logs the metric 'x{metric}'"):
            require_supported_callbacks(used, schedule)


@pytest.mark.parametrize(
    ("callback", "schedule", "expected"),
    [
        (callbacks.EarlyStopping("val/top1"), {}, "EarlyStopping: with mode min, the worst val/top1 .* Set mode max"),
        (callbacks.ModelCheckpoint(monitor="val/loss", mode="max"), {}, "ModelCheckpoint: .* worst val/loss"),
        (RunCheckpoint(monitor="val/loss"), {}, "RunCheckpoint: with mode max, the worst val/loss"),
        (EMA(), {"monitor": "val/top5", "patience": 2}, "model.scheduler: with mode min, the worst val/top5"),
    ],
)
def test_the_worst_value_does_not_count_as_the_best(callback, schedule, expected):
    with pytest.raises(UserError, match=expected):
        require_supported_callbacks([OfTheUser(), callback], schedule)


def test_which_value_of_another_metric_is_the_best_is_the_user_s_choice():
    for mode in ("min", "max"):
        require_supported_callbacks([callbacks.EarlyStopping("images_per_s", mode=mode)], {})
        worst = "val/loss" if mode == "max" else "val/top1"
        with pytest.raises(UserError, match=f"with mode {mode}, the worst {worst}"):
            require_supported_callbacks([callbacks.EarlyStopping(worst, mode=mode)], {})


def test_a_misspelt_metric_names_the_nearest():
    with pytest.raises(UserError, match=NEAREST):
        require_supported_callbacks([stopping_on("val/topp1")], {})


def test_a_metric_like_no_other_lists_all():
    with pytest.raises(UserError, match=r"'f-score'\. Choose from: train/loss, train/top1, val/loss, .*, memory\.$"):
        require_supported_callbacks([stopping_on("f-score")], {})


def test_the_metric_of_another_stage_is_not_logged_in_training():
    with pytest.raises(UserError, match="nothing logs the metric 'test/top1'"):
        require_supported_callbacks([stopping_on("test/top1")], {})


def test_a_schedule_and_the_choice_of_the_best_epoch_are_checked_as_callbacks_are():
    with pytest.raises(
        UserError, match=r"^model\.scheduler: nothing logs the metric 'val/lss'\. Did you mean val/loss"
    ):
        require_supported_callbacks([], {"monitor": "val/lss", "factor": 0.1})
    with pytest.raises(UserError, match="^RunCheckpoint: nothing logs the metric 'top1'"):
        require_supported_callbacks([RunCheckpoint(monitor="top1")], {})


def test_a_callback_of_the_user_s_may_log_any_metric():
    watching = stopping_on("val/topp1")
    require_supported_callbacks([OfTheUser(), watching], {})
    with pytest.raises(UserError, match=NEAREST):
        require_supported_callbacks([watching], {})


def test_two_callbacks_of_one_class_are_both_checked():
    with pytest.raises(UserError, match=NEAREST):
        require_supported_callbacks([stopping_on("val/topp1"), stopping_on("val/loss")], {})
