"""Trainings on real GPUs: what a pretended GPU cannot show."""

import pytest
import torch

from tests.helpers.options import callback
from tests.helpers.recipes import EMA, MIX, SAVE_OFTEN
from tests.helpers.tables import table

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
ON_GPU = ["--trainer.accelerator=gpu"]


@pytest.mark.parametrize("more", [[], ["--trainer.precision=bf16-mixed"]], ids=["32 bit", "bf16"])
def test_a_stopped_and_resumed_training_ends_like_an_uninterrupted_one(launch, small, tmp_path, more):
    fit = ["fit", *small, *ON_GPU, *more, "--model.optimizer.lr=0.01", *SAVE_OFTEN, *EMA, *MIX]
    stop = callback("killing.SignalAt", number=15, at=10)
    assert launch(*fit, "--name=whole")[0] == 0
    status, output = launch(*fit, "--name=stopped", *stop)
    assert status == 143, output
    status, output = launch(*fit, "--name=stopped", "--ckpt_path=last")
    assert status == 0, output
    whole, stopped = (table(tmp_path / "runs" / name / "version_0" / "metrics.csv") for name in ("whole", "stopped"))
    for expected, found in zip(whole, stopped, strict=True):
        assert found["step"] == expected["step"]
        for name in ("train/loss", "val/loss"):
            assert float(found[name]) == pytest.approx(float(expected[name]), rel=0.02)


needs_two = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
TWO = ["--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=8"]


@needs_two
def test_two_gpus_train_test_and_stop(launch, small, tmp_path):
    fit = ["fit", *small, *ON_GPU, *TWO, *SAVE_OFTEN]
    stop = callback("killing.SignalAt", number=15, at=10)
    status, output = launch(*fit, *stop)
    assert status == 143, output
    status, output = launch(*fit, "--ckpt_path=last")
    assert status == 0, output
    best = tmp_path / "runs/defaults/version_0/checkpoints/best.ckpt"
    status, output = launch("test", f"--ckpt_path={best}", *TWO, *ON_GPU)
    assert status == 0, output


@needs_two
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("fault", ["FailAt", "SigkillAt"])
def test_a_fault_that_ends_one_gpu_s_process_ends_both(launch, small, fault, rank):
    """NCCL alone would wait for half an hour."""
    end = callback(f"killing.{fault}", hook="train_batch_start", at=10, rank=rank)
    status, output = launch("fit", *small, *ON_GPU, *TWO, *end)
    assert status != 0, output
