"""What a user may get wrong or run into, and the one message that says what to do."""

import os

import pytest
import torch

CLI_FAULTS = {
    "misspelt option": (["fit", "--modle.arch=resnet18"], 2, "no option --modle.arch. Did you mean --model.arch"),
    "misspelt data option": (["fit", "--data.batchsize=3"], 2, "no option 'batchsize'. Did you mean batch_size"),
    "wrong type": (["fit", "--data.batch_size=many"], 2, "data.batch_size must be int, not 'many'"),
    "wrong choice": (["fit", "--model.stem=smal"], 2, "model.stem must be one of ['imagenet', 'half', 'small']"),
    "unknown class": (["fit", "--data.augment+=RandomCropp"], 2, "no class 'RandomCropp'. Did you mean RandomCrop"),
    "unknown optimizer": (["fit", "--model.optimizer=SDG"], 2, "no class 'SDG'. Did you mean SGD"),
    "unknown command": (["fitt"], 2, "invalid choice: 'fitt'"),
    "unknown config": (["fit", "--config=resnet18_agu.yaml"], 1, "no config 'resnet18_agu.yaml'"),
    "unknown arch": (["fit", "--model.arch=resnet19"], 1, "no ResNet 'resnet19'. The known ones"),
    "no checkpoint given": (["test"], 1, "test needs a checkpoint"),
    "missing checkpoint": (["test", "--ckpt_path=runs/a/b.ckpt"], 1, "no checkpoint runs/a/b.ckpt"),
    "impossible augmentation": (
        ["fit", "--data.augment+=RandomHorizontalFlip", "--data.augment.p=2"], 1, "probability between 0 and 1, not 2",
    ),
    "missing archive": (["fit", "--data.archive=no.zip"], 1, "no.zip: there is no such file"),
    "impossible rate": (["fit", "--model.optimizer.lr=-1"], 1, "model.optimizer: Invalid learning rate: -1"),
    "large batch": (["fit", "--data.batch_size=1000"], 1, "batch_size 1000 is larger than the 115 training images"),
    "too many classes": (["fit", "--data.classes=9"], 1, "classes 9: choose between 2 and the 4 classes"),
    "large holdout": (["fit", "--data.holdout=128"], 1, "holdout 128 would hold out 128 of 128"),
    "missing images": (["predict", "--data.images=nowhere"], 1, "needs a checkpoint"),
}  # fmt: skip


@pytest.mark.parametrize("fault", CLI_FAULTS)
def test_one_message_and_nothing_left(run, small, tmp_path, fault):
    argv, status, message = CLI_FAULTS[fault]
    options = small if argv[0] == "fit" else []
    found, output = run(argv[0], *options, *argv[1:])
    assert found == status, output
    assert message in output
    assert "Traceback" not in output
    assert not list(tmp_path.glob("runs/**/*.ckpt"))


@pytest.fixture
def checkpoint(run, small, tmp_path):
    assert run("fit", *small, "--trainer.max_epochs=1")[0] == 0
    return tmp_path / "runs" / "defaults" / "version_0" / "checkpoints" / "best.ckpt"


def test_checkpoints_that_are_none(run, small, checkpoint):
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: len(whole) // 2])
    status, output = run("test", f"--ckpt_path={checkpoint}")
    assert status == 1
    assert "is damaged" in output
    torch.save({"state_dict": {}, "pytorch-lightning_version": "2.6.6"}, checkpoint)
    status, output = run("test", f"--ckpt_path={checkpoint}")
    assert status == 1
    assert "not written by this project" in output


class Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


def test_a_checkpoint_that_would_run_code_does_not(run, checkpoint, tmp_path):
    torch.save({"state_dict": {}, "attack": Attack()}, checkpoint)
    status, output = run("test", f"--ckpt_path={checkpoint}")
    assert status == 1
    assert "code" in output
    assert not (tmp_path / "attacked").exists()


def test_other_classes_than_the_checkpoint_knows(run, checkpoint):
    status, output = run("test", f"--ckpt_path={checkpoint}", "--data.classes=2")
    assert status == 1
    assert "knows 4 classes" in output and "has 2" in output


def test_metrics_csv_may_be_deleted_while_running(run, small, tmp_path):
    metrics = tmp_path / "runs" / "defaults" / "version_0" / "metrics.csv"
    delete = ["--trainer.callbacks+=tests.killing.DeleteAt", f"--trainer.callbacks.path={metrics}"]
    status, output = run("fit", *small, *delete)
    assert status == 0, output
    assert len(metrics.read_text().splitlines()) == 3, "the row from before it was deleted is there as well"


def test_a_run_folder_deleted_while_running_is_told(run, small, tmp_path):
    folder = tmp_path / "runs" / "defaults" / "version_0"
    delete = ["--trainer.callbacks+=tests.killing.DeleteAt", f"--trainer.callbacks.path={folder}"]
    status, output = run("fit", *small, *delete)
    assert status == 1, output
    assert "moved or deleted while it was written to" in output
