"""What a GPU would be asked to do, on machines without one: no devices mixed, and no step that waits for it."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.pretended_gpu import pretended_gpu
from tests.test_configs import CONFIG_FILES, OVERLAYS
from tests.watching import waits
from tiny_imagenet.benchmark import choices, pipelines, steps
from tiny_imagenet.data import TinyImageNetDataModule
from tiny_imagenet.data.augment import RandomResizedCrop

RECIPES = [c for c in CONFIG_FILES if c.name not in ("quickstart.yaml", "defaults.yaml") and "cifar10" not in c.name]


@pytest.fixture
def on_gpu(archive, data_root, run):
    """Run a command line on the small data and a pretended GPU; the exit status and what it printed."""

    def on_gpu(command: str, *options: str) -> tuple[int, str]:
        data = [f"--data.archive={archive}", "--data.md5=null", f"--data.root={data_root}", "--data.batch_size=16"]
        with pretended_gpu():
            return run(command, *options, *data, "--trainer.accelerator=gpu", "--trainer.devices=1")

    return on_gpu


@pytest.fixture
def waits_of_steps(on_gpu, tmp_path):
    """Fit as `on_gpu` does and return how often each step of training waited for the GPU."""

    def waits_of_steps(*options: str) -> list[int]:
        out = tmp_path / "waits.json"
        note = ["--trainer.callbacks+=tests.watching.NoteWaits", f"--trainer.callbacks.out={out}",
                "--trainer.callbacks.device=cuda"]  # fmt: skip
        status, output = on_gpu("fit", *options, *note)
        assert status == 0, output
        return json.loads(out.read_text())[:-1]

    return waits_of_steps


def test_what_waits_is_seen():
    """The pretended GPU, and what notes the waits, are not blind."""
    with pretended_gpu():
        on_gpu, here, aten = torch.zeros(3, device="cuda"), torch.arange(3), torch.ops.aten
        assert waits("cuda", aten._local_scalar_dense.default, (on_gpu.sum(),), {})
        assert not waits("cuda", aten._local_scalar_dense.default, (here.sum(),), {})
        assert waits("cuda", aten._to_copy.default, (on_gpu,), {"device": torch.device("cpu")})
        assert waits("cuda", aten._to_copy.default, (here,), {"device": torch.device("cuda")})
        assert not waits("cuda", aten._to_copy.default, (here,), {"device": torch.device("cuda"), "non_blocking": True})
        assert waits("cuda", aten.index.Tensor, (on_gpu, [here]), {})
        assert not waits("cuda", aten.mul.Tensor, (on_gpu, torch.tensor(2.0)), {})
        with pytest.raises(RuntimeError, match="cuda:0"):
            on_gpu + here
        assert (here + here).tolist() == [0, 2, 4], "what lies on the CPU is computed"


def test_no_step_waits_but_where_it_logs(waits_of_steps):
    found = waits_of_steps("--config=resnet18_aug.yaml", "--trainer.max_epochs=2", "--trainer.log_every_n_steps=4",
                           "--trainer.callbacks+=EMA", "--data.mix={cutmix: 1.0}")  # fmt: skip
    assert len(found) == 2 * 8
    assert found[8] > 0, "the first epoch's figures are read before the second begins, or this would count nothing"
    waiting = {number for number, count in enumerate(found, start=1) if count}
    assert waiting <= {1, 4, 5, 8, 9, 12, 13, 16}, "the first, where a value is logged, or what follows it"


@pytest.mark.slow
@pytest.mark.parametrize("config", RECIPES, ids=str)
def test_every_recipe(waits_of_steps, tmp_path, config):
    before = [f"--config={OVERLAYS[config.name]}"] if config.name in OVERLAYS else []
    found = waits_of_steps(*before, f"--config={config}", "--model.weights=null", "--trainer.max_epochs=1")
    assert not any(found[1:]), "only the first step may wait"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "waits_each_step"),
    [
        (["--trainer.precision=16-mixed"], 1),  # Lightning's: whether the loss was scaled too far
        (["--trainer.gradient_clip_val=1", "--trainer.accumulate_grad_batches=2", "--model.dropout=0.2"], 0),
        (["--model.optimizer={class_path: Lookahead, init_args: {optimizer: {class_path: torch.optim.Adam}}}"], 0),
        (["--data.resize=80", "--data.normalize=imagenet", "--data.mix={mixup: 0.2}"], 0),
        (["--trainer.callbacks+=ConditionNumbers", "--model.label_smoothing=0.1"], 0),
    ],
    ids=["16-mixed", "accumulation", "lookahead", "mixup", "condition numbers"],
)
def test_what_else_a_step_may_do(waits_of_steps, options, waits_each_step):
    found = waits_of_steps("--config=resnet18_aug.yaml", "--trainer.max_epochs=1", *options)
    assert max(found[1:]) == waits_each_step


@pytest.mark.slow
def test_resuming_and_evaluating(on_gpu, tmp_path):
    status, output = on_gpu("fit", "--config=resnet18_aug.yaml", "--trainer.max_epochs=1", "--trainer.callbacks+=EMA")
    assert status == 0, output
    last = next(tmp_path.glob("runs/**/last.ckpt"))
    status, output = on_gpu("fit", "--config=resnet18_aug.yaml", "--trainer.max_epochs=2", "--trainer.callbacks+=EMA",
                            "--ckpt_path=last")  # fmt: skip
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
    status, output = on_gpu("fit", "--config=resnet18_aug.yaml", "--trainer.max_epochs=1",
                            "--trainer.callbacks+=tiny_imagenet.benchmark.steps.BareLoop",
                            f"--trainer.callbacks.out={out}", "--trainer.callbacks.turn=2")  # fmt: skip
    assert status == 0, output
    found = json.loads(out.read_text())
    assert found["ratio"] > 0 and found["memory_mib"] == 1 and found["flops_per_image"] > 1e8
    data = TinyImageNetDataModule(str(data_root), str(archive), None, batch_size=16)
    data.setup("fit")
    with pretended_gpu():
        cuda, recipe = torch.device("cuda"), pipelines.OURS["crop + flip"]
        ways = choices.contestants(cuda, batch_size=2)
        assert {"TF32 off, 32 bit", "cudnn.benchmark off"} < ways.keys()
        pretended = ways.keys() - {"compiled", "fused optimizer"}
        assert [ways[name].step() for name in pretended] == [2] * len(pretended)
        assert pipelines.packed(data, recipe, 8, cuda).step() in (7, 8)
        assert pipelines.on_the_device(data, recipe, 8, cuda).step() in (7, 8)
        assert pipelines.one_augmentation(data, RandomResizedCrop(64), 8, cuda).step() == 8
        transform = pipelines.torchvisions("crop + flip", 64, data.info.mean, data.info.std)
        assert pipelines.image_files(data.sets["train"].files.folder, transform, 8, 0, cuda)[0].step() == 8
        assert len(steps.saving_seconds(cuda, rounds=1)["waits"]) == 1
        assert steps.peak_flops(cuda, "bf16-mixed") > 0
