"""Errors that users can make or meet, each with one message that says what to do."""

import errno
import os
import subprocess
import sys

import pytest
import torch

from tests.helpers.archives import change_disk, disk
from tests.helpers.options import callback
from tests.helpers.paths import ROOT
from tiny_imagenet.classifier import ImageClassifier
from tiny_imagenet.errors import user_message
from tiny_imagenet.files import replace_text
from tiny_imagenet.run.checkpoint_files import is_whole

CLI_FAULTS = {
    "misspelt option": (["fit", "--modle.arch=resnet18"], 2, "no option --modle.arch. Did you mean --model.arch"),
    "misspelt data option": (["fit", "--data.batchsize=3"], 2, "no option 'batchsize'. Did you mean batch_size"),
    "wrong type": (["fit", "--data.batch_size=many"], 2, "data.batch_size must be int, not 'many'"),
    "wrong choice": (["fit", "--model.stem=smal"], 2, "model.stem must be one of 'imagenet', 'pool', 'half'"),
    "unknown class": (["fit", "--data.augment+=RandomCropp"], 2, "no class 'RandomCropp'. Did you mean RandomCrop"),
    "unknown optimizer": (["fit", "--model.optimizer=SDG"], 2, "no class 'SDG'. Did you mean SGD"),
    "unknown command": (["fitt"], 2, "no command 'fitt'. Did you mean fit?"),
    "unknown config": (["fit", "--config=resnet18_agu.yaml"], 1, "no config 'resnet18_agu.yaml'"),
    "unknown arch": (["fit", "--model.arch=resnet19"], 1, "no ResNet 'resnet19'. Did you mean resnet18"),
    "no checkpoint given": (["test"], 1, "test needs a checkpoint"),
    "missing checkpoint": (["test", "--ckpt_path=runs/a/b.ckpt"], 1, "no checkpoint runs/a/b.ckpt"),
    "impossible augmentation": (
        ["fit", "--data.augment+=RandomHorizontalFlip", "--data.augment.p=2"], 1, "probability between 0 and 1, not 2",
    ),
    "missing archive": (["fit", "--data.archive=no.zip"], 1, "no.zip: there is no such file"),
    "impossible rate": (["fit", "--model.optimizer.lr=-1"], 1, "model.optimizer: Invalid learning rate: -1"),
    "large batch": (["fit", "--data.batch_size=1000"], 1, "batch_size 1000 is larger than the 115 training images"),
    "too many classes": (["fit", "--data.classes=9"], 1, "classes 9: choose a number between 2 and 4 (all classes)"),
    "large holdout": (["fit", "--data.holdout=128"], 1, "holdout 128 would hold out 128 of 128"),
    "wrong precision": (["fit", "--trainer.precision=17"], 2, "trainer.precision must be one of 64, 32, 16, "),
    "unknown strategy": (["fit", "--trainer.strategy=nonsense"], 1, "trainer: You selected an invalid strategy name"),
    "unknown accelerator": (["fit", "--trainer.accelerator=nonsense"], 1, "You selected an invalid accelerator name"),
    "more GPUs than there are": (["fit", "--trainer.accelerator=gpu", "--trainer.devices=99"], 1, "`auto` uses what"),
    "no device": (["fit", "--trainer.devices=0"], 1, "trainer: `Trainer(devices='0')` value is not a valid input"),
    "strategy of GPUs": (["fit", "--trainer.strategy=fsdp"], 1, "trainer: The strategy `fsdp` requires a GPU"),
    "a sampler of Lightning's": (["fit", "--trainer.use_distributed_sampler=true"], 1, "leave it off. They divide"),
    "barebones": (["fit", "--trainer.barebones=true"], 1, "trainer.barebones would leave out the checkpoints"),
    "no checkpoints": (["fit", "--trainer.enable_checkpointing=false"], 1, "a run without checkpoints cannot be resum"),
    "no end for a schedule": (["fit", "--trainer.max_epochs=-1"], 1, "set --trainer.max_epochs or --trainer.max_step"),
    "unknown class id": (["fit", "--data.classes=[0,1,10]"], 1, "there is no class '0' among the 4. Choose from: n9"),
    "no class id": (["fit", "--data.classes=[1.5,2]"], 2, "data.classes must be int or str or null, not '1.5'"),
    "overfitting": (["fit", "--trainer.overfit_batches=2"], 1, "overfit_batches would replace the samplers"),
    "callback that cannot be resumed": (
        ["fit", *callback("StochasticWeightAveraging", swa_lrs=0.01)], 1,
        "a run with StochasticWeightAveraging cannot be resumed exactly. EMA averages the weights",
    ),
    "search before the training": (["fit", *callback("LearningRateFinder")], 1, "sweeps/learning_rate.yaml"),
    "misspelt monitor": (["fit", "--checkpoint.monitor=val/topp1"], 1, "the metric 'val/topp1'. Did you mean val/top"),
    "misspelt monitor of a callback": (
        ["fit", *callback("EarlyStopping", monitor="val/los")], 1,
        "EarlyStopping: nothing logs the metric 'val/los'. Did you mean val/loss",
    ),
    "misspelt monitor of a schedule": (
        ["fit", "--model.scheduler=lightning.pytorch.cli.ReduceLROnPlateau", "--model.scheduler.monitor=vall/loss",
         "--model.scheduler_interval=epoch"], 1, "model.scheduler: nothing logs the metric 'vall/loss'",
    ),
    "monitor of single steps": (
        ["fit", *callback("EarlyStopping", monitor="train/loss_step")], 1,
        "EarlyStopping: nothing logs the metric 'train/loss_step'. Did you mean train/loss",
    ),
    "workers below none": (["fit", "--data.num_workers=-1"], 1, "num_workers must be at least 0, not -1"),
    "more workers than a machine": (["fit", f"--data.num_workers={10**400}"], 1, "num_workers must be at most 256"),
    "no accumulation": (["fit", "--trainer.accumulate_grad_batches=0"], 1, "grad_batches must be at least 1, not 0"),
    "less than a batch": (["fit", "--trainer.limit_train_batches=0.001"], 1, "Please increase the `limit_train_b"),
    "validation beyond the epoch": (["fit", "--trainer.val_check_interval=1000"], 1, "training batches (8)"),
    "validation never": (["fit", "--trainer.check_val_every_n_epoch=0"], 1, "n_epoch must be at least 1, not 0"),
    "impossible seed": (["fit", "--seed_everything=-1"], 1, "seed_everything: -1 is not in bounds"),
    "missing weights": (["fit", "--model.weights=no.ckpt"], 1, "'no.ckpt' is neither a file nor a name that torchv"),
    "missing checkpoint to resume from": (["fit", "--ckpt_path=no.ckpt"], 1, "There is no checkpoint no.ckpt"),
}  # fmt: skip


@pytest.mark.parametrize("fault", CLI_FAULTS)
def test_one_message_and_nothing_left(run, small, tmp_path, fault):
    argv, status, message = CLI_FAULTS[fault]
    options = small if argv[0] == "fit" else []
    found, output = run(argv[0], *options, *argv[1:])
    assert found == status, output
    assert message in output
    assert "Traceback" not in output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [errno.EACCES, errno.EISDIR])
def test_files_that_cannot_be_written_are_named(code):
    error = OSError(code, os.strerror(code), "runs/a/metrics.csv")
    assert user_message(error) == f"runs/a/metrics.csv: {os.strerror(code)}."


def test_a_run_s_config_that_is_damaged_or_gone(run, small, checkpoint):
    config = checkpoint.parents[1] / "config.yaml"
    whole = config.read_text()
    for text, message in ((whole[:100] + "\n: [", "config.yaml is damaged"), ("", "config.yaml is damaged"),
                          (None, "config.yaml is gone, so it is unknown")):  # fmt: skip
        config.unlink() if text is None else config.write_text(text)
        status, output = run("fit", *small, "--ckpt_path=last")
        assert status == 1 and message in output and "Traceback" not in output
        status, output = run("test", f"--ckpt_path={checkpoint}")
        assert status == 1 and "config.yaml" in output and "Traceback" not in output
    elsewhere = checkpoint.parents[3] / "last.ckpt"
    checkpoint.rename(elsewhere)
    status, output = run("fit", *small, f"--ckpt_path={elsewhere}", "--trainer.max_epochs=2")
    assert status == 0 and "is gone, so it is unknown" in output, "a new run, with a warning"


def test_a_batch_of_one_image_that_cannot_be_normalised(run, small):
    status, output = run("fit", *small, "--data.batch_size=2")  # of 115 images
    assert status == 1 and "BatchNorm cannot normalise a batch of one image" in output and "Traceback" not in output


def test_other_classes_than_the_checkpoint_knows(run, checkpoint):
    status, output = run("test", f"--ckpt_path={checkpoint}", "--data.classes=2")
    assert status == 1
    assert "The checkpoint has 4 classes" in output and "the data has 2" in output


def test_metrics_csv_may_be_deleted_while_running(run, small, tmp_path):
    metrics = tmp_path / "runs" / "defaults" / "version_0" / "metrics.csv"
    status, output = run("fit", *small, *callback("killing.DeleteAt", path=metrics))
    assert status == 0, output
    assert len(metrics.read_text().splitlines()) == 3, "the row from before the deletion is there too"


def test_a_run_folder_deleted_while_running_is_reported(run, small, tmp_path):
    folder = tmp_path / "runs" / "defaults" / "version_0"
    status, output = run("fit", *small, *callback("killing.DeleteAt", path=folder))
    assert status == 1, output
    assert "moved or deleted during the training" in output
    assert "Traceback" not in output


def out_of_gpu_memory():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda *_: torch.empty(2**50), "out of memory: lower --data.batch_size, and keep the recipe's batch with"),
        (lambda *_: bytearray(2**62), "out of memory: lower --data.batch_size"),
        (lambda *_: out_of_gpu_memory(), "out of memory: lower --data.batch_size"),
    ],
    ids=["torch", "python", "GPU"],
)
def test_out_of_memory_says_what_to_lower(run, small, tmp_path, monkeypatch, fault, message):
    monkeypatch.setattr(ImageClassifier, "training_step", fault)
    status, output = run("fit", *small)
    assert status == 1
    assert message in output and "--trainer.accumulate_grad_batches" in output
    assert not list(tmp_path.glob("runs/**/*.ckpt"))


@pytest.mark.parametrize(
    ("options", "message"), [("ro", "can't be made: Read-only file"), ("size=4k", "can't be written: No space left")]
)
def test_a_disk_without_room_for_a_run(run, small, tmp_path, monkeypatch, options, message):
    with disk(tmp_path / "disk", options) as place:
        monkeypatch.chdir(place)
        status, output = run("fit", *small)
        assert status == 1, output
        assert message in output and "Traceback" not in output
        assert not list(place.glob("runs/*/*"))
        monkeypatch.chdir(tmp_path)


def test_a_result_that_a_full_disk_has_no_room_for(tmp_path):
    with disk(tmp_path / "disk", "size=4k") as place:
        with pytest.raises(OSError) as caught:
            replace_text(place / "metrics.csv", "0" * 10_000)
        assert user_message(caught.value).startswith(f"{place / 'metrics.csv'} can't be written: No space left")
        assert not list(place.iterdir())


def test_a_disk_that_fills_up_keeps_the_previous_checkpoint(run, small, tmp_path, monkeypatch):
    with disk(tmp_path / "disk", "size=2500k") as place:  # space for one checkpoint, not for two
        monkeypatch.chdir(place)
        status, output = run("fit", *small)
        assert status == 1, output
        assert "The checkpoint could not be saved in" in output and "No space left on device" in output
        checkpoints = place / "runs" / "defaults" / "version_0" / "checkpoints"
        assert sorted(os.listdir(checkpoints)) == ["best.ckpt", "last.ckpt"]
        assert is_whole(checkpoints / "last.ckpt")
        change_disk(place, "size=9m")
        assert run("fit", *small, "--ckpt_path=last")[0] == 0
        assert len((checkpoints.parent / "metrics.csv").read_text().splitlines()) == 3
        monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_one_of_several_processes_does_not_train_alone(run, small, tmp_path, monkeypatch, variable):
    monkeypatch.setenv(variable, "4")
    status, output = run("fit", *small)
    assert status == 1 and "one of several processes" in output and "Traceback" not in output
    assert not list(tmp_path.glob("runs/*/version_*"))


def test_messages_are_tabulated(tmp_path):
    """By the command in results/faults/README.md."""
    test = "tests/test_faults.py::test_one_message_and_nothing_left[unknown optimizer]"
    command = [sys.executable, "-m", "pytest", "-p", "tests.helpers.messages", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, f"--messages={tmp_path / 'messages.md'}", test], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    row = f"| {test.removeprefix('tests/')} | model.optimizer: there is no class 'SDG'. Did you mean SGD? |"
    assert row in (tmp_path / "messages.md").read_text().splitlines()
