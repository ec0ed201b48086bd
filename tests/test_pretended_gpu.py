"""What a GPU would do, on machines without one: operations never mix devices, and steps do not wait for the GPU."""

import json
import sys
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from PIL import Image

from tests.helpers.configs import CONFIG_FILES, OVERLAYS
from tests.helpers.options import callback
from tests.helpers.pretended_gpu import pretended_gpu
from tests.helpers.watching import NoteWaits, waits
from tiny_imagenet.benchmark import callbacks, choices, pipelines, steps
from tiny_imagenet.callbacks import Progress
from tiny_imagenet.cli.arguments import CONFIGS
from tiny_imagenet.data import TinyImageNetDataModule
from tiny_imagenet.data.augment import RandomResizedCrop

RECIPES = [config for config in CONFIG_FILES if config.name not in ("quickstart.yaml", "defaults.yaml")]


@pytest.fixture
def on_gpu(archive, data_root, run):
    """Run a command line on the small data and a pretended GPU. Returns its exit status and output."""

    def on_gpu(command: str, *options: str, batch_size: int = 16) -> tuple[int, str]:
        data = [f"--data.archive={archive}", "--data.md5=null", f"--data.root={data_root}"]
        data += [f"--data.batch_size={batch_size}"]
        with pretended_gpu():
            return run(command, *options, *data, "--trainer.accelerator=gpu", "--trainer.devices=1")

    return on_gpu


@pytest.fixture
def waits_of_steps(on_gpu, tmp_path):
    """Fit on the pretended GPU. Returns how often each training step waited for the GPU."""

    def waits_of_steps(*options: str, batch_size: int = 16) -> list[int]:
        out = tmp_path / "waits.json"
        note = callback("watching.NoteWaits", out=out, device="cuda")
        status, output = on_gpu("fit", *options, *note, batch_size=batch_size)
        assert status == 0, output
        return json.loads(out.read_text())[:-1]

    return waits_of_steps


def test_waits_are_detected(tmp_path):
    """Otherwise the tests below would show nothing."""
    with pretended_gpu():
        on_gpu, here, aten = torch.zeros(3, device="cuda"), torch.arange(3), torch.ops.aten
        assert waits("cuda", aten._local_scalar_dense.default, (on_gpu.sum(),), {})
        assert not waits("cuda", aten._local_scalar_dense.default, (here.sum(),), {})
        assert waits("cuda", aten._to_copy.default, (on_gpu,), {"device": torch.device("cpu")})
        assert waits("cuda", aten._to_copy.default, (here,), {"device": torch.device("cuda")})
        non_blocking = {"device": torch.device("cuda"), "non_blocking": True}
        assert waits("cuda", aten._to_copy.default, (here,), non_blocking)
        assert not waits("cuda", aten._to_copy.default, (here.clone().pin_memory(),), non_blocking)
        assert waits("cuda", aten.index.Tensor, (on_gpu, [here]), {})
        assert not waits("cuda", aten.mul.Tensor, (on_gpu, torch.tensor(2.0)), {})
        with pytest.raises(RuntimeError, match="cuda:0"):
            on_gpu + here
        assert (here + here).tolist() == [0, 2, 4], "tensors on the CPU are computed"
        note = NoteWaits(str(tmp_path / "waits.json"), "cuda")
        note.on_train_start()
        for wait in (lambda: on_gpu.sum().item(), on_gpu.cpu, lambda: torch.tensor([1.0], device="cuda"),
                     lambda: on_gpu[here], lambda: here.to("cuda"), lambda: bool((on_gpu > 0).all())):  # fmt: skip
            wait()
            note.on_train_batch_end()
        on_gpu[on_gpu > 0] = 1.0
        on_gpu.add_(1)
        note.on_train_end()
        assert json.loads((tmp_path / "waits.json").read_text()) == [1, 1, 1, 1, 1, 1, 0]


def test_a_step_waits_only_if_it_logs(waits_of_steps):
    found = waits_of_steps("--config=resnet18_aug.yaml", "--trainer.max_epochs=2", "--trainer.log_every_n_steps=4",
                           *callback("EMA"), "--data.mix={cutmix: 1.0}")  # fmt: skip
    assert len(found) == 2 * 8
    assert found[8] > 0, "the first epoch's metrics are read before the second starts; otherwise nothing is counted"
    waiting = {number for number, count in enumerate(found, start=1) if count}
    assert waiting <= {1, 4, 5, 8, 9, 12, 13, 16}, "the first step, steps that log, and steps after those"


@pytest.mark.parametrize(
    ("refresh", "seconds", "least", "most"),
    [(1000, 0, set(), set()), (0, 1000, {2}, {2}), (0, 0, {2, 3}, set(range(2, 30)))],
    ids=["not drawn", "drawn at each step, read once", "drawn and read"],
)
def test_a_progress_bar_waits_only_when_drawn_and_at_most_once_a_second(
    waits_of_steps, monkeypatch, refresh, seconds, least, most
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(Progress, "REFRESH", refresh)
    monkeypatch.setattr(Progress, "SECONDS", seconds)
    found = waits_of_steps("--config=resnet18_baseline.yaml", "--trainer.max_epochs=1", batch_size=4)
    assert len(found) == 29
    waited = {number for number, count in enumerate(found, start=1) if count}
    # The bar is drawn at a step's end, so that its wait is counted with the next step.
    assert {1} | least <= waited <= {1} | most


def test_batches_are_pinned_only_for_a_gpu(archive, data_root):
    data = TinyImageNetDataModule(str(data_root), str(archive), None, batch_size=16)
    with pretended_gpu():
        for accelerator in ("cpu", "gpu"):
            data.trainer = pl.Trainer(accelerator=accelerator, devices=1, logger=False)
            data.setup("fit")
            for loader in (data.train_dataloader(), data.val_dataloader()):
                assert loader.pin_memory == (accelerator == "gpu")


@pytest.mark.slow
@pytest.mark.parametrize("config", RECIPES, ids=str)
def test_every_recipe(waits_of_steps, config):
    before = [f"--config={OVERLAYS[config.name]}"] if config.name in OVERLAYS else []
    more = ["--data=TinyImageNetDataModule"] if "cifar10" in config.name or config.name == "photos.yaml" else []
    text = (CONFIGS / config).read_text()
    more += ["--data.mix.epochs_without=0"] if "mix:" in text else []
    more += ["--data.classes=null"] if "classes:" in text else []
    # Two epochs if image sizes change or images are mixed.
    epochs = 2 if config.parent.name == "records" else 1
    found = waits_of_steps(
        *before, f"--config={config}", "--model.weights=null", f"--trainer.max_epochs={epochs}", *more
    )
    steps = len(found) // epochs
    assert steps == 8 and found[0], "the first step copies what stays on the GPU"
    assert not any(found[1:steps]), "no other step may wait"
    assert not any(found[steps + 1 :])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "waits_each_step"),
    [
        (["--trainer.precision=16-mixed"], 1),  # Lightning checks whether the loss was scaled too much
        (["--trainer.gradient_clip_val=1", "--trainer.accumulate_grad_batches=2", "--model.dropout=0.2"], 0),
        (["--model.optimizer={class_path: Lookahead, init_args: {optimizer: {class_path: torch.optim.Adam}}}"], 0),
        (["--data.resize=80", "--data.normalize=imagenet", "--data.mix={mixup: 0.2}"], 0),
        ([*callback("ConditionNumbers"), "--model.label_smoothing=0.1"], 0),
    ],
    ids=["16-mixed", "accumulation", "lookahead", "mixup", "condition numbers"],
)
def test_other_options_of_a_step(waits_of_steps, options, waits_each_step):
    found = waits_of_steps("--config=resnet18_aug.yaml", "--trainer.max_epochs=1", *options)
    assert max(found[1:]) == waits_each_step


@pytest.mark.slow
def test_resuming_and_evaluating(on_gpu, tmp_path):
    fit = ["fit", "--config=resnet18_aug.yaml", *callback("EMA")]
    status, output = on_gpu(*fit, "--trainer.max_epochs=1")
    assert status == 0, output
    last = next(tmp_path.glob("runs/**/last.ckpt"))
    status, output = on_gpu(*fit, "--trainer.max_epochs=2", "--ckpt_path=last")
    assert status == 0, output
    for command in ("validate", "test"):
        status, output = on_gpu(command, f"--ckpt_path={last}")
        assert status == 0, output
    photo = tmp_path / "photo.png"
    Image.new("RGB", (50, 40)).save(photo)
    status, output = on_gpu("predict", f"--ckpt_path={last}", f"--data.images={photo}")
    assert status == 0, output
    assert len(Path(next(tmp_path.glob("**/predictions.csv"))).read_text().splitlines()) == 2


@pytest.mark.slow
def test_the_benchmark(on_gpu, archive, data_root, tmp_path):
    out = tmp_path / "steps.json"
    bare = callback("tiny_imagenet.benchmark.callbacks.BareLoop", out=out, turn=2)
    status, output = on_gpu("fit", "--config=resnet18_aug.yaml", "--trainer.max_epochs=1", *bare)
    assert status == 0, output
    found = json.loads(out.read_text())
    assert found["ratio"] > 0 and found["flops_per_image"] > 1e8
    data = TinyImageNetDataModule(str(data_root), str(archive), None, batch_size=16)
    data.setup("fit")
    with pretended_gpu():
        cuda, recipe = torch.device("cuda"), pipelines.OURS["crop + flip"]
        ways = choices.contestants(cuda, batch_size=2)
        assert "cudnn.benchmark off" in ways
        for name, tf32 in (("precision 32-true, TF32 off", False), (choices.DEFAULT, True)):
            ways[name].step()
            assert torch.backends.cudnn.allow_tf32 == tf32
        pretended = ways.keys() - {"compiled", "fused optimizer"}
        assert [ways[name].step() for name in pretended] == [2] * len(pretended)
        assert pipelines.packed(data, recipe, 8, cuda).step() in (7, 8)
        assert pipelines.on_the_device(data, recipe, 8, cuda).step() in (7, 8)
        assert pipelines.one_augmentation(data, RandomResizedCrop(64), 8, cuda).step() == 8
        transform = pipelines.torchvision_transforms("crop + flip", 64, data.info.mean, data.info.std)
        assert pipelines.image_files(data.sets["train"].files.folder, transform, 8, 0, cuda)[0].step() == 8
        assert len(steps.saving_seconds(cuda, rounds=1)["waits"]) == 1
        assert callbacks.MatrixProduct(cuda, "bf16-mixed").flops_per_second() > 0
