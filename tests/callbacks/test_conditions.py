"""condition_numbers.csv: values as NumPy computes them from the checkpoint, and no gap after resuming."""

import numpy as np
import pytest
import torch

from tests.helpers.killing import Killed
from tests.helpers.options import callback
from tests.helpers.tables import table


def rows(run_folder):
    return table(run_folder / "condition_numbers.csv")


def test_condition_numbers_of_each_epoch(run, small, tmp_path):
    assert run("fit", *small, *callback("ConditionNumbers"))[0] == 0
    folder = tmp_path / "runs" / "defaults" / "version_0"
    found = {row["layer"]: float(row["condition_number"]) for row in rows(folder) if row["epoch"] == "1"}
    weights = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert found.keys() >= {"conv1", "layer1.0.conv1", "layer4.1.conv2", "fc"}
    for layer, number in found.items():
        weight = weights[f"network.{layer}.weight"].double().flatten(1).numpy()
        assert number == pytest.approx(np.linalg.cond(weight), rel=1e-3), layer


def test_every_so_many_epochs_also_after_resuming(run, small, tmp_path):
    fit = ["fit", *small, "--trainer.max_epochs=4", *callback("ConditionNumbers", every_n_epochs=2)]
    assert run(*fit)[0] == 0
    with pytest.raises(Killed):
        run(*fit, *callback("killing.KillAt", hook="train_epoch_start", at=2))
    (tmp_path / "runs" / "defaults" / "version_1" / "condition_numbers.csv").unlink()
    assert run(*fit, "--ckpt_path=last")[0] == 0
    whole, resumed = (rows(tmp_path / "runs" / "defaults" / f"version_{version}") for version in (0, 1))
    assert sorted({row["epoch"] for row in whole}) == ["0", "2"]
    assert resumed == whole


def test_lost_rows_are_written_even_if_nothing_is_left_to_train(run, small, finished):
    options = [*small, "--trainer.max_epochs=1", *callback("ConditionNumbers")]
    file = finished(*options) / "condition_numbers.csv"
    before = file.read_bytes()
    file.unlink()
    status, output = run("fit", *options, "--ckpt_path=last")
    assert status == 0 and "Already finished" in output, output
    assert file.read_bytes() == before
