"""A training that was stopped anywhere and resumed ends exactly as one that was not."""

import multiprocessing
import os
import signal

import pytest
import torch

from tests.helpers.archives import in_process
from tests.helpers.comparing import assert_same, contents
from tests.helpers.killing import Killed
from tests.helpers.options import callback
from tests.helpers.recipes import EMA, MIX, ONE_CYCLE, PLATEAU, RECIPES, SAVE_OFTEN
from tests.helpers.tables import table
from tiny_imagenet.cli import main
from tiny_imagenet.run.checkpoint_files import is_whole, resumable_checkpoint
from tiny_imagenet.run.checkpoint_writer import CheckpointWriter
from tiny_imagenet.run.folder import RunLock

# In the first epoch; in the second; in its validation; between two epochs.
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
        assert f"version_{version}" in output, "the run goes on where it was"
        assert_same(contents(runs / f"version_{version}"), expected, f"{recipe} killed at {hook} {at}")


def test_resuming_twice_is_as_good_as_once(run, small, tmp_path):
    fit = ["fit", *small, *SAVE_OFTEN, *MIX]
    assert run(*fit)[0] == 0
    for at in (3, 4):  # the second one from where the first resumption had come to
        resume = [] if at == 3 else ["--ckpt_path=last"]
        with pytest.raises(Killed):
            run(*fit, *callback("killing.KillAt", hook="train_batch_start", at=at), *resume)
    assert run(*fit, "--ckpt_path=last")[0] == 0
    runs = tmp_path / "runs" / "defaults"
    assert_same(contents(runs / "version_1"), contents(runs / "version_0"))


@pytest.mark.parametrize(
    ("number", "status", "hook", "at", "step"),
    [
        (signal.SIGINT, 130, "train_batch_start", 9, 10),  # saved at the end of the step in which the signal came
        (signal.SIGTERM, 143, "train_batch_start", 9, 10),
        (signal.SIGTERM, 143, "train_batch_start", 7, 8),  # an epoch's last: after its validation
        (signal.SIGTERM, 143, "validation_batch_start", 0, 8),
    ],
)
def test_a_signal_saves_and_tells_how_to_go_on(run, small, tmp_path, number, status, hook, at, step):
    fit = ["fit", *small, *PLATEAU]
    assert run(*fit)[0] == 0
    found, output = run(*fit, *callback("killing.SignalAt", number=number, hook=hook, at=at))
    assert found == status
    assert "--ckpt_path last" in output
    runs = tmp_path / "runs" / "defaults"
    saved = torch.load(runs / "version_1" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == step
    assert run(*fit, "--ckpt_path=last")[0] == 0
    assert_same(contents(runs / "version_1"), contents(runs / "version_0"))


def test_a_test_that_a_signal_ended_is_not_taken_for_a_whole_one(run, small, tmp_path):
    assert run("fit", *small, "--trainer.max_epochs=1")[0] == 0
    version = tmp_path / "runs" / "defaults" / "version_0"
    test = ["test", f"--ckpt_path={version / 'checkpoints' / 'last.ckpt'}"]
    stop = callback("killing.SignalAt", number=signal.SIGTERM, hook="test_batch_start", at=0)
    status, output = run(*test, *stop)
    assert status == 143 and "Stopped by SIGTERM" in output
    assert not (version / "test_metrics.json").exists()


def test_a_checkpoint_every_so_many_minutes(run, small, tmp_path):
    kill = callback("killing.KillAt", hook="train_batch_start", at=5)
    with pytest.raises(Killed):
        run("fit", *small, "--checkpoint.every_minutes=1e-6", *kill)
    last = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 5


@pytest.mark.parametrize("schedule", [[], PLATEAU], ids=["cosine", "plateau"])
def test_a_validation_within_an_epoch_counts_for_it_after_a_resumption_too(run, small, tmp_path, schedule):
    fit = ["fit", "--config=defaults.yaml", *small, *SAVE_OFTEN, *schedule, "--trainer.val_check_interval=5"]  # of 8
    assert run(*fit)[0] == 0
    runs = tmp_path / "runs" / "defaults"
    for version, at in enumerate((5, 7, 15), start=1):  # saved before the validation; after it, in either epoch
        with pytest.raises(Killed):
            run(*fit, *callback("killing.KillAt", hook="train_batch_start", at=at))
        status, output = run(*fit, "--ckpt_path=last")
        assert status == 0, output
        assert_same(contents(runs / f"version_{version}"), contents(runs / "version_0"))
    assert all(row["val/top1"] for row in contents(runs / "version_1")[1])


def test_a_lost_last_row_comes_back(run, small, tmp_path):
    fit = ["fit", *small, *callback("ConditionNumbers")]
    assert run(*fit)[0] == 0
    version = tmp_path / "runs" / "defaults" / "version_0"
    before = {name: (version / name).read_text() for name in ("metrics.csv", "condition_numbers.csv")}
    for name in before:
        (version / name).unlink()
    assert run(*fit, "--ckpt_path=last")[0] == 0
    assert {name: (version / name).read_text() for name in before} == before


def test_a_run_with_a_single_callback_is_resumed(run, small, tmp_path):
    (tmp_path / "average.yaml").write_text("trainer: {callbacks: {class_path: EMA, init_args: {decay: 0.9}}}")
    fit = ["fit", *small, "--config=average.yaml"]
    assert run(*fit, "--trainer.max_epochs=1")[0] == 0
    status, output = run(*fit, "--ckpt_path=last")
    assert status == 0, output


def test_a_damaged_last_checkpoint_is_named_and_the_previous_one_used(run, small, tmp_path):
    fit = ["fit", *small, *SAVE_OFTEN]
    assert run(*fit)[0] == 0
    runs = tmp_path / "runs" / "defaults"
    expected = contents(runs / "version_0")
    last = runs / "version_0" / "checkpoints" / "last.ckpt"
    os.truncate(last, last.stat().st_size // 2)
    assert not is_whole(last)
    assert resumable_checkpoint(runs / "version_0").name == "previous.ckpt"
    status, output = run(*fit, "--ckpt_path=last")
    assert status == 0, output
    assert f"{last.relative_to(tmp_path)} is damaged" in output
    assert_same(contents(runs / "version_0"), expected)


def test_a_bit_that_was_flipped_is_noticed(tmp_path):
    path = tmp_path / "one.ckpt"
    content = {"weights": torch.arange(4.0), "step": 3}
    torch.save(content, path)
    whole = path.read_bytes()
    assert is_whole(path)
    for position in range(0, 8 * len(whole), 3):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        if is_whole(path):  # such as a date, which says nothing
            found = torch.load(path, weights_only=True)
            assert found.keys() == content.keys() and torch.equal(found["weights"], content["weights"])


def test_best_is_the_epoch_with_the_best_monitor(run, small, tmp_path):
    assert run("fit", *small, "--trainer.max_epochs=4", "--model.optimizer.lr=0.02")[0] == 0
    version = tmp_path / "runs" / "defaults" / "version_0"
    top1 = [float(row["val/top1"]) for row in table(version / "metrics.csv")]
    best = torch.load(version / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == top1.index(max(top1))


def test_resuming_with_a_changed_config_says_so_or_refuses(run, small, tmp_path):
    assert run("fit", *small)[0] == 0
    status, output = run("fit", *small, "--ckpt_path=last", "--trainer.max_epochs=3", "--model.label_smoothing=0.1")
    assert status == 0, output
    assert "trainer.max_epochs: 2 -> 3" in output
    assert "model.label_smoothing: 0.0 -> 0.1" in output
    config = tmp_path / "runs" / "defaults" / "version_0" / "config.yaml"
    before = config.read_text()
    status, output = run("fit", *small, "--ckpt_path=last", "--model.arch=resnet34")
    assert status == 1
    assert "model.arch: resnet18 -> resnet34" in output
    status, output = run("fit", *small, "--ckpt_path=last", "--model.optimizer.lr=0.01")
    assert status == 1
    assert "model.optimizer.init_args.lr: 0.1 -> 0.01" in output
    best = config.with_name("checkpoints") / "best.ckpt"
    status, output = run("fit", *small, f"--ckpt_path={best}", "--model.arch=resnet34")
    assert status == 1
    assert "model.arch: resnet18 -> resnet34" in output
    for option in ("--seed_everything=1", "--model.freeze=[conv1]"):
        status, output = run("fit", *small, "--ckpt_path=last", option)
        assert status == 1
        assert f"cannot go on with a changed {option[2:].partition('=')[0]}: " in output
    status, output = run("fit", *small, "--ckpt_path=last", "--data.batch_size=8")
    assert status == 1
    assert "batches" in output
    status, output = run("fit", *small, "--ckpt_path=last", "--data.classes=2")
    assert status == 1
    assert "4 classes" in output
    assert config.read_text() == before, "what was refused is not recorded"


def test_resuming_with_fewer_epochs_than_there_were(run, small):
    assert run("fit", *small)[0] == 0
    status, output = run("fit", *small, "--ckpt_path=last", "--trainer.max_epochs=1")
    assert status == 1 and "error: You restored a checkpoint with current_epoch=2" in output
    assert "Traceback" not in output


def test_a_training_that_stopped_early_stays_stopped(run, small, tmp_path):
    stop = callback("EarlyStopping", monitor="val/loss", min_delta=1000, patience=1)
    fit = ["fit", *small, *stop, "--trainer.max_epochs=9"]
    assert run(*fit)[0] == 0
    ended = contents(tmp_path / "runs" / "defaults" / "version_0")
    assert len(ended[1]) == 2
    for _ in range(2):
        status, output = run(*fit, "--ckpt_path=last")
        assert status == 0 and "Nothing was left to train" in output
        assert_same(contents(tmp_path / "runs" / "defaults" / "version_0"), ended)


def test_a_training_that_stopped_within_an_epoch_is_saved_and_goes_on_with_more_patience(run, small, tmp_path):
    fit = ["fit", *small, "--trainer.val_check_interval=3"]  # of 8 batches
    stop = callback("EarlyStopping", monitor="val/top1", stopping_threshold=2)
    last = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints" / "last.ckpt"
    for resumption in ([], ["--ckpt_path=last"]):
        assert run(*fit, *stop, *resumption)[0] == 0
        assert torch.load(last, weights_only=True)["global_step"] == 3
    patient = callback("EarlyStopping", monitor="val/top1", stopping_threshold=None, patience=9)
    status, output = run(*fit, *patient, "--ckpt_path=last")
    assert status == 0, output
    assert torch.load(last, weights_only=True)["global_step"] == 16


def test_a_metrics_file_that_was_damaged_is_written_anew(run, small, tmp_path):
    assert run("fit", *small)[0] == 0
    metrics = tmp_path / "runs" / "defaults" / "version_0" / "metrics.csv"
    whole = metrics.read_bytes()
    metrics.write_bytes(b"\xff\xfe\x00\x81")
    assert run("fit", *small, "--ckpt_path=last")[0] == 0
    assert metrics.read_bytes() == whole


def test_a_training_whose_time_is_up_keeps_its_rows(run, small, tmp_path):
    fit = ["fit", *small, "--trainer.max_epochs=500", "--trainer.max_time=00:00:00:02"]
    assert run(*fit)[0] == 0
    metrics = tmp_path / "runs" / "defaults" / "version_0" / "metrics.csv"
    before = metrics.read_text()
    status, output = run(*fit, "--ckpt_path=last")
    assert status == 0 and "Nothing was left to train" in output
    assert metrics.read_text() == before


def test_a_run_is_trained_by_one_process_at_a_time(run, small, tmp_path):
    fit = ["fit", *small, "--trainer.max_epochs=1"]
    assert run(*fit)[0] == 0
    taken, leave = (multiprocessing.get_context("fork").Event() for _ in range(2))

    def train():
        lock = RunLock(tmp_path / "runs" / "defaults" / "version_0")
        lock.acquire()
        taken.set()
        leave.wait(60)
        os._exit(0)

    other = in_process(train)
    assert taken.wait(60)
    status, output = run(*fit, "--ckpt_path=last", "--trainer.max_epochs=2")
    assert status == 1 and "version_0 is being trained by another process" in output
    leave.set()
    other.join()
    assert run(*fit, "--ckpt_path=last", "--trainer.max_epochs=2")[0] == 0


def test_a_schedule_that_would_end_too_early_is_refused(run, small):
    assert run("fit", *small, *ONE_CYCLE, "--trainer.max_epochs=1")[0] == 0
    status, output = run("fit", *small, *ONE_CYCLE, "--trainer.max_epochs=3", "--ckpt_path=last")
    assert status == 1
    assert "schedule ends after 8 steps, and this training after 24" in output and "Traceback" not in output


def test_an_average_cannot_be_dropped_on_the_way(run, small):
    assert run("fit", *small, *EMA, "--trainer.max_epochs=1")[0] == 0
    status, output = run("fit", *small, "--ckpt_path=last")
    assert status == 1
    assert "cannot go on with a changed trainer.callbacks: EMA is gone" in output


def test_a_save_that_was_killed_half_way_does_not_cost_the_best_checkpoint(run, small, tmp_path):
    fit = ["fit", *small]
    assert run(*fit)[0] == 0
    checkpoints = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints"
    before = (checkpoints / "best.ckpt").read_bytes()
    # As kill -9 leaves them between the names of best.ckpt and of last.ckpt.
    os.link(checkpoints / "best.ckpt", checkpoints / ".saving.ckpt")
    by_memory = ["--checkpoint.monitor=memory", "--checkpoint.mode=min"]
    assert run(*fit, "--ckpt_path=last", "--trainer.max_epochs=3", *by_memory)[0] == 0
    assert (checkpoints / "best.ckpt").read_bytes() == before
    assert torch.load(checkpoints / "last.ckpt", weights_only=True)["epoch"] == 2


def test_a_second_ctrl_c_leaves_at_once(small, tmp_path):
    interrupt = callback("killing.SignalAt", number=2, at=9)
    save = CheckpointWriter.save_checkpoint

    def save_and_wait(writer, *arguments, **options):
        save(writer, *arguments, **options)
        writer.wait()

    def work():
        os.chdir(tmp_path)
        CheckpointWriter.save_checkpoint = save_and_wait  # Else the first epoch's may still be on its way.
        main(["fit", *small, *interrupt, *interrupt])

    process = in_process(work)
    process.join(timeout=120)
    assert process.exitcode == 130
    last = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 8, "that of the first epoch: nothing was saved since"


def test_a_callback_that_saves_checkpoints_of_its_own(run, small, tmp_path):
    status, output = run("fit", *small, *callback("ModelCheckpoint", dirpath="own"))
    assert status == 0, output
    assert "epoch 2/2 |" in output
    own = [torch.load(path, weights_only=True)["epoch"] for path in (tmp_path / "own").iterdir()]
    run_s = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints"
    assert own == [1] and sorted(os.listdir(run_s)) == ["best.ckpt", "last.ckpt", "previous.ckpt"]


def test_ended_by_max_steps_within_an_epoch_and_resumed(run, small, tmp_path):
    assert run("fit", *small)[0] == 0
    assert run("fit", *small, "--trainer.max_steps=11")[0] == 0
    runs = tmp_path / "runs" / "defaults"
    ended = torch.load(runs / "version_1" / "checkpoints" / "last.ckpt", weights_only=True)
    assert ended["global_step"] == 11
    status, output = run("fit", *small, "--ckpt_path=last")
    assert status == 0, output
    expected, found = (table(runs / f"version_{version}" / "metrics.csv") for version in (0, 1))
    assert [(row["epoch"], row["step"]) for row in found] == [(row["epoch"], row["step"]) for row in expected]
    assert found[1]["val/top1"]


def test_last_without_anything_to_resume_starts_afresh_and_says_so(run, small, tmp_path):
    status, output = run("fit", *small, "--trainer.max_epochs=1", "--ckpt_path=last")
    assert status == 0
    assert "starting afresh" in output
    assert (tmp_path / "runs" / "defaults" / "version_0" / "checkpoints" / "last.ckpt").exists()


def test_nan_stops_and_keeps_the_last_good_checkpoint(run, small, tmp_path):
    poison = callback("killing.PoisonAt", hook="train_batch_start", at=9)
    status, output = run("fit", *small, *SAVE_OFTEN, *poison)
    assert status == 1
    assert "The loss was NaN or infinite at step 10" in output, "the tenth batch met the poisoned weights"
    checkpoints = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints"
    kept = {path.stem: torch.load(path, weights_only=True) for path in checkpoints.iterdir()}
    assert {name: checkpoint["global_step"] for name, checkpoint in kept.items()} == {
        "last": 9, "previous": 8, "best": 8,
    }  # fmt: skip
    assert all(w.isfinite().all() for checkpoint in kept.values() for w in checkpoint["state_dict"].values())


def test_a_signal_from_before_the_first_step_is_acted_on_after_it(run, small, tmp_path):
    status, output = run("fit", *small, *callback("killing.SignalAt", number=15, hook="train_start", at=0))
    assert status == 143 and "--ckpt_path last" in output, output
    last = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 1
