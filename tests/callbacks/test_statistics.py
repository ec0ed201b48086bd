"""The statistics of an epoch, on a clock that the test sets."""

from types import SimpleNamespace

import pytest
import torch

from tiny_imagenet.callbacks import EpochStatistics, statistics


def test_an_epoch_s_seconds_are_all_of_it_and_its_images_per_second_those_of_training(monkeypatch):
    now, logged = 1000.0, {}
    monkeypatch.setattr(statistics.time, "monotonic", lambda: now)
    data = SimpleNamespace(pipeline=SimpleNamespace(progressive=None))
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}])
    trainer = SimpleNamespace(optimizers=[optimizer], world_size=2, datamodule=data)
    module = SimpleNamespace(device=torch.device("cpu"), log_dict=lambda values, rank_zero_only: logged.update(values))
    callback = EpochStatistics()

    def train(batches: int) -> None:
        nonlocal now
        for _ in range(batches):
            now += 10
            callback.on_train_batch_end(trainer, module, None, [torch.zeros(8, 3, 2, 2)], 0)

    def validate_and_end() -> tuple[float, float, float]:
        nonlocal now
        callback.on_validation_start(trainer, module)
        now += 30
        callback.on_validation_end(trainer, module)
        callback.on_train_epoch_end(trainer, module)
        return tuple(logged[name].item() for name in ("lr", "seconds", "images_per_s"))

    callback.on_train_start(trainer, module)
    for _ in range(2):  # the second epoch does not count the first
        train(4)
        assert validate_and_end() == pytest.approx((0.1, 4 * 10 + 30, 2 * 8 / 10)), "of two devices"
    assert logged["memory"] > 50, "in MiB"

    # Saved after three batches of the next epoch, and resumed for one more.
    train(3)
    saved, callback = callback.state_dict(), EpochStatistics()
    now += 3600
    callback.load_state_dict(saved)
    callback.on_train_start(trainer, module)
    train(1)
    assert validate_and_end() == pytest.approx((0.1, 4 * 10 + 30, 2 * 8 / 10))
    train(1)
    assert validate_and_end()[1] == 10 + 30, "the resumed epoch's time is counted once"
