"""Two processes on one machine count, save and resume like a single one."""

import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest
import torch
from PIL import Image

from tests.helpers.comparing import assert_same, contents
from tests.helpers.options import callback
from tests.helpers.paths import ROOT
from tests.helpers.recipes import EMA, MIX, SAVE_OFTEN, UNFREEZE
from tests.helpers.slurm import batch

pytestmark = pytest.mark.slow

TWO = ["--trainer.devices=2", "--trainer.strategy=ddp"]


def test_two_ranks_test_like_one_and_resume_exactly(launch, small, tmp_path):
    fit = ["fit", "--config=defaults.yaml", *small, *TWO, "--data.batch_size=8", *SAVE_OFTEN, *EMA, *MIX, *UNFREEZE,
           "--data.num_workers=1", "--trainer.accumulate_grad_batches=3"]  # fmt: skip
    status, output = launch(*fit)
    assert status == 0, output
    assert output.count("epoch 1/2 |") == 1, "only one process prints"
    first = tmp_path / "runs" / "defaults" / "version_0"

    # Stopped in the second epoch, on both ranks as by Ctrl-C or a preemption, and resumed.
    stop = callback("killing.SignalAt", number=15, at=10)
    status, output = launch(*fit, *stop)
    assert status == 143, output
    assert "--ckpt_path last" in output
    status, output = launch(*fit, "--ckpt_path=last")
    assert status == 0, output
    assert_same(contents(first.with_name("version_1")), contents(first))

    # 48 images in batches of 5 and 4 over two ranks, and 13 held-out images in 7 and 6: no padding.
    results = {}
    for ranks, options in ((2, TWO), (1, ["--trainer.devices=1", "--trainer.strategy=auto"])):
        best = first / "checkpoints" / "best.ckpt"
        status, output = launch("test", f"--ckpt_path={best}", "--data.batch_size=5", *options)
        assert status == 0, output
        tables = [(first / name).read_text() for name in ("per_class.csv", "confusion.csv")]
        results[ranks] = json.loads((first / "test_metrics.json").read_text()), tables
        # Batches of one image: the second rank has none in the last step.
        status, output = launch("validate", f"--ckpt_path={best}", "--data.batch_size=1", *options)
        assert status == 0, output
        results[ranks][1].extend(re.findall(r"validation (top-1 [\d.]+ %, loss [\d.]+) \(13 images\)", output))
        assert len(results[ranks][1]) == 3, output
    assert results[1][1] == results[2][1]
    assert {k: results[1][0][k] for k in ("top1", "top5", "images")} == {
        k: results[2][0][k] for k in ("top1", "top5", "images")
    }
    assert results[1][0]["loss"] == pytest.approx(results[2][0]["loss"], rel=1e-5)
    assert results[2][0]["images"] == 48

    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")  # one image for two ranks
    status, output = launch("predict", f"--ckpt_path={best}", f"--data.images={tmp_path / 'red.png'}", *TWO)
    assert status == 0, output
    assert len((first / "predictions.csv").read_text().splitlines()) == 2


def test_three_ranks_resume_exactly(launch, small, tmp_path):
    """With three, unlike with two, the order in which gradients are summed matters."""
    fit = ["fit", *small, "--trainer.devices=3", "--trainer.strategy=ddp", "--data.batch_size=8", *SAVE_OFTEN,
           "--model.width=0.25", "--trainer.max_epochs=1"]  # fmt: skip
    status, output = launch(*fit)
    assert status == 0, output
    status, output = launch(*fit, *callback("killing.SignalAt", number=15, at=2))
    assert status == 143, output
    status, output = launch(*fit, "--ckpt_path=last")
    assert status == 0, output
    runs = tmp_path / "runs" / "defaults"
    assert_same(contents(runs / "version_1"), contents(runs / "version_0"))


def test_all_ranks_act_on_a_fault_of_one(launch, small, tmp_path):
    fit = ["fit", *small, *TWO, "--data.batch_size=8"]
    status, output = launch(*fit, *callback("killing.SignalAt", number=15, at=3, rank=1))
    assert status == 143 and "--ckpt_path last" in output, output
    last = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 4
    gone = callback("killing.DeleteAt", path=last.parents[1])
    status, output = launch(*fit, "--ckpt_path=last", *gone)  # only rank 0 checks for it
    assert status == 1 and "moved or deleted during the training" in output, output


def test_all_processes_wait_for_the_one_that_saves(launch, small, tmp_path):
    fit = ["fit", *small, *TWO, "--data.batch_size=8", *callback("killing.SlowDisk")]
    status, output = launch(*fit, *callback("killing.SignalAt", number=15, at=3))
    assert status == 143 and "--ckpt_path last" in output, output
    last = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 4


@pytest.mark.parametrize(
    ("rank", "ends_with", "saved"),
    [(0, -signal.SIGKILL, (9, 10)), (1, 1, (8, 10))],  # Rank 0 may be killed while it is writing.
)
def test_the_loss_of_a_process_ends_all_with_a_message_and_a_whole_checkpoint(
    launch, small, tmp_path, rank, ends_with, saved
):
    fit = ["fit", *small, *TWO, "--data.batch_size=8", "--checkpoint.every_n_steps=1"]
    status, output = launch(*fit, *callback("killing.SigkillAt", hook="train_batch_start", at=10, rank=rank))
    assert status == ends_with
    assert "error: The connection to another process of this run is lost" in output
    last = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] in saved
    for resumption in (["--ckpt_path=last"], []):
        status, output = launch(*fit, *resumption)
        assert status == 0, output
    never_stopped = last.parents[2] / "version_1"
    assert_same(contents(last.parents[1]), contents(never_stopped))


def test_a_process_that_waits_for_a_lost_one_ends_with_a_message(launch, small, tmp_path):
    """With NCCL, the others would not notice; here the first process sleeps."""
    fit = ["fit", *small, *TWO, "--data.batch_size=8", "--checkpoint.every_n_steps=1"]
    kill = callback("killing.SigkillAt", hook="train_batch_start", at=10, rank=1)
    stuck = callback("killing.StuckAt", hook="train_batch_start", at=10, rank=0)
    status, output = launch(*fit, *kill, *stuck)
    assert status == -signal.SIGKILL
    assert "terminated with code -9" in output and "To resume the training, add --ckpt_path last" in output
    last = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] in (8, 10)


def test_a_process_does_not_outlive_the_one_that_started_it(launch, small):
    fit = ["fit", *small, *TWO, "--data.batch_size=8"]
    kill = callback("killing.SigkillAt", hook="train_batch_start", at=10, rank=0)
    stuck = callback("killing.StuckAt", hook="train_batch_start", at=10, rank=1)
    status, output = launch(*fit, *kill, *stuck)  # returns when both have closed their output
    assert status == -signal.SIGKILL and "The process that launched this one is gone" in output, output


def test_a_process_that_fails_leaves_at_once(launch, small):
    """At a normal exit, NCCL would wait for the other process; here the exit sleeps."""
    fail = callback("killing.FailAt", hook="train_batch_start", at=10, rank=1)
    status, output = launch("fit", *small, *TWO, "--data.batch_size=8", *fail)
    assert status != 0 and "error: out of memory" in output, output


def test_two_nodes_of_torchrun_train_like_two_devices(launch, small, tmp_path):
    options = [*small, "--data.batch_size=8", "--trainer.max_epochs=1"]
    assert launch("fit", *options, *TWO)[0] == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    nodes = ["--trainer.num_nodes=2", "--trainer.devices=1", "--trainer.strategy=ddp"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1",
               "--master_addr=127.0.0.1", f"--master_port={port}"]  # fmt: skip
    processes = [
        subprocess.Popen(
            [*command, f"--node_rank={rank}", str(ROOT / "training.py"), "fit", *options, *nodes, "--name=nodes"],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    assert sum(output.count("epoch 1/1 |") for output in outputs) == 1, "only one process prints"
    runs = tmp_path / "runs"
    assert [path.name for path in (runs / "nodes").iterdir()] == ["version_0"]
    assert_same(contents(runs / "nodes" / "version_0"), contents(runs / "defaults" / "version_0"))


def test_the_slurm_script_of_the_docs_saves_and_requeues_itself_when_its_time_is_up(launch, small, tmp_path):
    page = (ROOT / "docs" / "training.md").read_text()
    (script,) = re.findall(r"^```\n(#!/bin/bash\n#SBATCH.*?)^```", page, re.M | re.S)
    (tmp_path / "training.py").symlink_to(ROOT / "training.py")
    options = [*small, "--data.batch_size=8", "--model.arch=resnet18", "--trainer.devices=1"]
    job = 10_000 + os.getpid() % 10_000  # Lightning takes the port from its last digits
    # Like the signal that the script requests from SLURM for the tasks.
    stop = callback("killing.SignalAt", number=15, at=10)
    status, output = batch(script, tmp_path, job, [*options, *stop])
    assert status == 143, output
    assert (tmp_path / "scontrol.log").read_text() == f"requeue {job}\n"
    assert output.count("Starting afresh") == 1, "only one process prints"
    status, output = batch(script, tmp_path, job, options)
    assert status == 0, output
    assert (tmp_path / "scontrol.log").read_text().count("\n") == 1, "a finished job is not queued again"
    run = tmp_path / "runs" / "resnet50_aug" / "version_0"
    assert launch("fit", "--config=resnet50_aug.yaml", *options[:-1], *TWO)[0] == 0
    assert_same(contents(run), contents(run.with_name("version_1")))


def test_ranks_wait_for_each_other_only_where_losses_are_logged(launch, small, tmp_path):
    note = callback("watching.NoteCollectives", out=tmp_path / "calls.json")
    options = ["--data.batch_size=8", "--trainer.max_epochs=1", "--trainer.log_every_n_steps=3"]
    status, output = launch("fit", *small, *TWO, *options, *note)
    assert status == 0, output
    *steps, end = json.loads((tmp_path / "calls.json").read_text())
    alone, checked = {}, {"all_reduce": 1}
    # The checks of steps 3 and 6 run after this callback, so they are counted with the next step.
    assert steps == [alone, alone, alone, checked, alone, alone, checked, alone]
    assert end["all_reduce"] > 1, "the sums of the epoch's metrics are counted"


def test_one_process_prepares_the_data_and_writes_files(launch, small, tmp_path):
    note = callback("watching.NoteWrites", out=tmp_path, folder=tmp_path)
    fresh = ["--data.root=data", "--data.batch_size=8", "--trainer.max_epochs=1"]
    status, output = launch("fit", *small, *TWO, *fresh, *note)
    assert status == 0, output
    first, second = (json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in range(2))
    assert {"runs/defaults/version_0/metrics.csv", "runs/defaults/version_0/config.yaml"} <= set(first)
    assert any(path.startswith("data/") and path.endswith("/pixels.npy") for path in first)
    assert second == []


def test_nan_on_one_rank_ends_all_with_a_message(launch, small, tmp_path):
    fit = ["fit", *small, *TWO, "--data.batch_size=8", *SAVE_OFTEN]
    status, output = launch(*fit, *callback("killing.PoisonAt", hook="train_batch_start", at=10, rank=1))
    assert status == 1 and "NaN or infinite at step" in output, output
    checkpoints = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints"
    last = torch.load(checkpoints / "last.ckpt", weights_only=True)
    assert last["global_step"] == 10 and all(w.isfinite().all() for w in last["state_dict"].values())
    assert launch(*fit, "--ckpt_path=last")[0] == 0


def test_every_image_of_an_epoch_is_on_one_rank(launch, small, tmp_path):
    options = ["--data.batch_size=8", "--data.holdout=0", "--checkpoint.every_n_steps=1", "--trainer.max_epochs=1"]
    status, output = launch("fit", *small, *TWO, *options, *callback("watching.NoteImages", out=tmp_path))
    assert status == 0, output
    ranks = [set(json.loads((tmp_path / f"rank_{rank}.json").read_text())) for rank in range(2)]
    assert [len(digests) for digests in ranks] == [64, 64]
    assert len(ranks[0] | ranks[1]) == 128, "all training images, each once"
    # The same holds for the sums of an epoch, which a checkpoint contains.
    previous = tmp_path / "runs" / "defaults" / "version_0" / "checkpoints" / "previous.ckpt"
    # Saved after seven of the eight batches of 8 images on each of the two ranks.
    assert torch.load(previous, weights_only=True)["train_metrics"]["loss"]["weight"].tolist() == [7 * 8, 7 * 8]
