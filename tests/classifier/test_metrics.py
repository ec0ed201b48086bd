"""Metrics: the order of scores, and sums that continue in a resumed epoch."""

import json

import numpy as np
import pytest
import torch

from tiny_imagenet.classifier.metrics import build_metrics, restore_sums, sums_of_ranks, without_ties


def test_scores_are_in_the_order_of_logits():
    logits = torch.randint(0, 8, (6, 200)).bfloat16()  # with many ties
    order = np.argsort(-logits.float().numpy(), axis=1, kind="stable")
    scores = without_ties(logits)
    assert (scores.numpy().argsort(axis=1)[:, ::-1] == order).all()
    assert (scores.topk(5).indices.numpy() == order[:, :5]).all()
    assert all(len(set(row)) == 200 for row in scores.tolist())


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_each_rank_resumes_its_sums_or_the_first_takes_all_if_the_number_of_devices_changed(ranks):
    logits, labels = torch.randn(2, 5, 4), torch.randint(0, 4, (2, 5))
    trained = [build_metrics("train", 4) for _ in range(2)]
    for rank, metrics in enumerate(trained):
        metrics.update(preds=logits[rank], target=labels[rank], value=torch.full((5,), rank + 1.0))
    both = [sums_of_ranks(metrics, lambda value: value[None]) for metrics in trained]
    saved = {
        name: {state: torch.cat([one[name][state] for one in both]) for state in states}
        for name, states in both[0].items()
    }
    resumed = [build_metrics("train", 4) for _ in range(ranks)]
    for rank, metrics in enumerate(resumed):
        restore_sums(metrics, saved, rank, ranks)
    images = [int(metrics["train/loss"].metric_state["weight"]) for metrics in resumed]
    assert images == {1: [10], 2: [5, 5], 3: [10, 0, 0]}[ranks]
    right = [int(metrics["train/top1"].metric_state["tp"]) for metrics in resumed]
    expected = (logits.argmax(dim=2) == labels).sum(dim=1).tolist()
    assert right == {1: [sum(expected)], 2: expected, 3: [sum(expected), 0, 0]}[ranks]
    losses = [float(metrics["train/loss"].metric_state["mean_value"]) for metrics in resumed]
    assert losses == {1: [15.0], 2: [5.0, 10.0], 3: [15.0, 0.0, 0.0]}[ranks]


def test_loss_is_the_mean_over_images_however_they_are_batched(run, trained):
    best = trained / "checkpoints" / "best.ckpt"
    losses = []
    for batch_size in (48, 7):
        assert run("test", f"--ckpt_path={best}", f"--data.batch_size={batch_size}")[0] == 0
        losses.append(json.loads((trained / "test_metrics.json").read_text())["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_sums_of_an_epoch_are_saved_in_its_checkpoints(run, small, tmp_path):
    options = ["--data.holdout=0", "--trainer.max_epochs=1", "--checkpoint.every_n_steps=1"]
    assert run("fit", *small, *options)[0] == 0
    checkpoints = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints"
    previous = torch.load(checkpoints / "previous.ckpt", weights_only=True)["train_metrics"]
    assert previous["loss"]["weight"] == previous["top1"]["tp"] + previous["top1"]["fn"] == 7 * 16, "of the 128 images"
    last = torch.load(checkpoints / "last.ckpt", weights_only=True)["train_metrics"]
    assert last["loss"]["weight"] == 0, "they restart after the epoch"
