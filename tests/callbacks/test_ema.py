"""The moving average: its values, and that validation and checkpoints use it."""

import re
from inspect import signature
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import EMAWeightAveraging

from tests.helpers.options import callback
from tests.helpers.tables import table
from tiny_imagenet.callbacks import EMA
from tiny_imagenet.progress import loss_text


class Module(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)


@pytest.mark.parametrize("use_buffers", [True, False])
def test_each_step_moves_the_average_by_a_fraction_of_the_difference(use_buffers):
    module, seen = Module(), []
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cpu")), global_step=0)
    ema = EMA(decay=0.9, use_buffers=use_buffers)
    ema.setup(trainer, module, "fit")
    for step in range(1, 5):
        for tensor in (*module.parameters(), module.norm.running_mean, module.norm.running_var):
            tensor.data.normal_()
        module.norm.num_batches_tracked.fill_(step)
        trainer.global_step = step
        ema.on_train_batch_end(trainer, module, None, None, 0)
        seen.append({name: value.double().numpy().copy() for name, value in module.state_dict().items()})
    for name, found in ema._average_model.module.state_dict().items():
        expected = seen[0][name]  # the average starts with the first weights
        for current in seen[1:]:
            expected = 0.9 * expected + 0.1 * current[name]
        if name == "norm.num_batches_tracked" or ("running" in name and not use_buffers):
            expected = seen[-1][name]
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6, err_msg=name)


def test_it_takes_the_options_of_lightning_s():
    theirs = signature(EMAWeightAveraging).parameters
    assert signature(EMA).parameters.keys() == theirs.keys() - {"kwargs"}
    assert all(parameter.default == theirs[name].default for name, parameter in signature(EMA).parameters.items())


def test_validation_and_checkpoints_use_the_average(run, small, tmp_path):
    status, output = run("fit", *small, *callback("EMA", decay=0.9))
    assert status == 0, output
    version = tmp_path / "runs" / "defaults" / "version_0"
    last = version / "checkpoints" / "last.ckpt"
    saved = torch.load(last, weights_only=True)
    for name in ("network.fc.weight", "network.bn1.running_mean"):
        assert not saved["state_dict"][name].equal(saved["current_model_state"][name])
    status, output = run("validate", f"--ckpt_path={last}")
    assert status == 0, output
    *_, row = table(version / "metrics.csv")
    (loss,) = re.findall(r"validation .*loss ([\d.]+)", output)
    assert loss == loss_text(float(row["val/loss"]))


def test_the_average_is_on_the_device_of_the_training_and_its_count_on_the_cpu():
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("meta")))  # stands in for a GPU
    ema = EMA(decay=0.9)
    ema.setup(trainer, Module(), "fit")
    assert ema._average_model.module.layer.weight.device.type == "meta"
    assert ema._average_model.n_averaged.device.type == "cpu"
    assert "n_averaged" in ema._average_model.state_dict(), "it is saved in checkpoints"
