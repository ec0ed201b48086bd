"""protocol.json, and the choice of the checkpoint to test."""

import json


def test_the_last_checkpoint_is_tested_if_validation_used_the_test_images(run, small, tmp_path):
    status, output = run("fit", "--config=resnet18_aug.yaml", *small, "--data.holdout=0", "--trainer.max_epochs=1")
    assert status == 0 and "test --ckpt_path runs/resnet18_aug/version_0/checkpoints/last.ckpt" in output
    protocol = json.loads((tmp_path / "runs/resnet18_aug/version_0/protocol.json").read_text())
    assert protocol == {"train_images": 128, "val_images": 48, "validates_on_test": True}
