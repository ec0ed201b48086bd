"""A training that is stopped anywhere and resumed ends exactly like an uninterrupted one."""

import pytest

from tests.helpers.comparing import assert_same, contents
from tests.helpers.killing import Killed
from tests.helpers.options import callback
from tests.helpers.recipes import MIX, PLATEAU, RECIPES, SAVE_OFTEN

# In the first epoch, in the second, in its validation, and between two epochs.
KILLS = [("train_batch_start", 4), ("train_batch_start", 11), ("validation_batch_start", 1), ("train_epoch_start", 1)]


@pytest.mark.parametrize("recipe", RECIPES)
def test_killed_and_resumed_equals_never_stopped(run, small, tmp_path, recipe):
    fit = ["fit", "--config=defaults.yaml", *small, *SAVE_OFTEN, "--checkpoint.every_minutes=null", *RECIPES[recipe]]
    status, output = run(*fit)
    assert status == 0, output
    runs = tmp_path / "runs" / "defaults"
    expected = contents(runs / "version_0")
    assert len(expected[1]) == 2
    for version, (hook, at) in enumerate(KILLS, start=1):
        with pytest.raises(Killed):
            run(*fit, *callback("killing.KillAt", hook=hook, at=at))
        status, output = run(*fit, "--ckpt_path=last")
        assert status == 0, output
        assert f"version_{version}" in output, "the same run continues"
        assert_same(contents(runs / f"version_{version}"), expected, f"{recipe} killed at {hook} {at}")


def test_resuming_twice_is_as_good_as_once(run, small, tmp_path):
    fit = ["fit", *small, *SAVE_OFTEN, *MIX]
    assert run(*fit)[0] == 0
    for at in (3, 4):  # the second resumes from the first resumption's checkpoint
        resume = [] if at == 3 else ["--ckpt_path=last"]
        with pytest.raises(Killed):
            run(*fit, *callback("killing.KillAt", hook="train_batch_start", at=at), *resume)
    assert run(*fit, "--ckpt_path=last")[0] == 0
    runs = tmp_path / "runs" / "defaults"
    assert_same(contents(runs / "version_1"), contents(runs / "version_0"))


@pytest.mark.parametrize("schedule", [[], PLATEAU], ids=["cosine", "plateau"])
def test_a_validation_within_an_epoch_still_counts_for_it_after_resuming(run, small, tmp_path, schedule):
    fit = ["fit", "--config=defaults.yaml", *small, *SAVE_OFTEN, *schedule, "--trainer.val_check_interval=5"]  # of 8
    assert run(*fit)[0] == 0
    runs = tmp_path / "runs" / "defaults"
    for version, at in enumerate((5, 7, 15), start=1):  # before the validation, and after it in either epoch
        with pytest.raises(Killed):
            run(*fit, *callback("killing.KillAt", hook="train_batch_start", at=at))
        status, output = run(*fit, "--ckpt_path=last")
        assert status == 0, output
        assert_same(contents(runs / f"version_{version}"), contents(runs / "version_0"))
    assert all(row["val/top1"] for row in contents(runs / "version_1")[1])


@pytest.mark.parametrize("at", [11, 12, 13])
@pytest.mark.parametrize("kind", ["killing.KillAt", "killing.SignalAt"])
def test_a_validation_that_is_due_across_epochs_is_not_lost(run, small, tmp_path, kind, at):
    fit = ["fit", *small, *SAVE_OFTEN, "--trainer.max_epochs=3"]
    fit += ["--trainer.check_val_every_n_epoch=null", "--trainer.val_check_interval=12"]  # of 24 batches in 3 epochs
    assert run(*fit)[0] == 0
    runs = tmp_path / "runs" / "defaults"
    expected = contents(runs / "version_0")
    assert [bool(row["val/top1"]) for row in expected[1]] == [False, True, True]
    if kind == "killing.KillAt":
        with pytest.raises(Killed):
            run(*fit, *callback(kind, hook="train_batch_start", at=at))
    else:
        assert run(*fit, *callback(kind, number=15, at=at))[0] == 143
    status, output = run(*fit, "--ckpt_path=last")
    assert status == 0, output
    assert_same(contents(runs / "version_1"), expected)
