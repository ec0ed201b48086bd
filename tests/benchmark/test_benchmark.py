"""The benchmark: its timing, and that the alternatives it compares do the same work."""

import json
import os
import re
import time
from argparse import Namespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from tests.helpers.jpegs import packed_of, write_jpegs
from tiny_imagenet.benchmark import choices, estimate, pipelines, stages, steps
from tiny_imagenet.benchmark.__main__ import main, table
from tiny_imagenet.benchmark.memory import reading_memory
from tiny_imagenet.benchmark.timing import Contestant, race, ratio
from tiny_imagenet.data import TinyImageNetDataModule
from tiny_imagenet.data.sets.textures import write_synthetic_archive
from tiny_imagenet.run import checkpoint_writer

CPU = torch.device("cpu")


@pytest.fixture
def data(archive, data_root):
    module = TinyImageNetDataModule(str(data_root), str(archive), None, batch_size=16)
    module.setup("fit")
    return module


def test_a_race_measures_how_many_times_as_fast():
    def sleeping(seconds: float) -> Contestant:
        return Contestant(lambda: time.sleep(seconds) or 10)

    rates = race({"slow": sleeping(0.02), "fast": sleeping(0.005)}, rounds=3, seconds=0.1)
    assert [len(each) for each in rates.values()] == [3, 3]
    assert max(rates["slow"]) <= 500, "10 images in 0.02 s"
    assert 2 < ratio(rates, "fast", "slow") < 6


def test_a_contestant_that_fails_leaves_the_race(capsys):
    def failing() -> int:
        raise RuntimeError("no compiler")

    rates = race({"fails": Contestant(failing), "works": Contestant(lambda: 1)}, rounds=2, seconds=0.0)
    assert list(rates) == ["works"] and len(rates["works"]) == 2
    assert capsys.readouterr().err == "fails failed: RuntimeError: no compiler\n"


def test_prepared_pieces_are_not_timed():
    calls = []
    race({"a": Contestant(lambda: calls.append(time.perf_counter()) or 1, untimed=5)}, rounds=2, seconds=0.0)
    assert len(calls) == 10, "a turn of 0 s has only untimed pieces"


def test_no_contestant_is_timed_while_the_workers_of_another_prepare_batches():
    ends, starts = [], []
    with_workers = Contestant(lambda: time.sleep(0.02) or ends.append(time.perf_counter()) or 1, ahead=10)
    alone = Contestant(lambda: starts.append(time.perf_counter()) or 1)
    race({"a": with_workers, "b": alone}, rounds=1, seconds=0.05)
    assert starts[0] - ends[-1] > 0.15, "ten pieces of 0.02 s each"


@pytest.mark.parametrize("recipe", pipelines.OURS)
def test_torchvision_s_transforms_do_the_same_work(data, recipe):
    """The same steps, shapes and about the same statistics: neither side skips work."""
    size, info = data.pipeline.image_size, data.info
    transform = pipelines.torchvision_transforms(recipe, size, info.mean, info.std)
    steps_of = lambda transforms: sorted(type(each).__name__ for each in transforms)  # noqa: E731
    assert steps_of(transform.transforms) == sorted(
        [*steps_of(pipelines.OURS[recipe]), "ToImage", "ToDtype", "Normalize"]
    )
    torch.manual_seed(0)
    images = data.sets["train"][np.arange(len(data.sets["train"]))][0].repeat(8, 1, 1, 1)
    theirs = torch.stack([transform(F.to_pil_image(image)) for image in images])
    mean, std = torch.tensor(info.mean), torch.tensor(info.std)
    ours = pipelines.augment(images, pipelines.OURS[recipe], mean, std)
    assert theirs.shape == ours.shape and theirs.dtype == ours.dtype
    assert abs(theirs.mean() - ours.mean()) < 0.1 and abs(theirs.std() - ours.std()) < 0.1


def test_each_pipeline_yields_whole_batches(data):
    files = data.sets["train"].files.folder
    transform = pipelines.torchvision_transforms("crop + flip", 64, data.info.mean, data.info.std)
    # The batches of an epoch are equal in size to within one image: 115 images make 10 of 8 and 5 of 7.
    assert pipelines.packed(data, pipelines.OURS["crop + flip"], 8, CPU).step() in (7, 8)
    assert pipelines.packed(data, pipelines.OURS["crop + flip"], 8, CPU, pinned=False).step() in (7, 8)
    assert pipelines.on_the_device(data, pipelines.OURS["crop + flip"], 8, CPU).step() in (7, 8)
    assert pipelines.reading(data, 8).step() in (7, 8)
    assert pipelines.image_files(files, transform, 8, 0, CPU)[0].step() == 8
    batches = pipelines.image_files(files, pipelines.ancestor_transforms(), 2, 0, CPU)[1]
    assert next(batches)[0].shape == (2, 3, 224, 224)


def test_each_choice_trains():
    variants = choices.contestants(CPU, batch_size=2, size=32)
    assert list(variants)[0] == choices.DEFAULT and len(variants) > 3
    quick = [variant for name, variant in variants.items() if name != "compiled"]
    assert len(quick) >= len(variants) - 1 and all(variant.step() == 2 for variant in quick)


def test_a_matrix_product_s_rate_is_that_of_its_arithmetic():
    product = steps.MatrixProduct(CPU, "32-true")
    product.side = 256
    product.left, product.right = torch.randn(2, 256, 256)
    start = time.perf_counter()
    rate = product.flops_per_second()
    seconds = time.perf_counter() - start
    # Three products of 256 x 256 x 256 multiplications and as many additions; the fastest counts.
    assert rate >= 3 * 33_554_432 / seconds


@pytest.mark.parametrize(
    ("device", "step_seconds", "steps", "counts"),
    [
        ("cpu", 0.25, None, [120, 120]),  # half a minute of fit, and half a minute of the bare loop
        ("cpu", 0.01, None, [200, 200]),
        ("cpu", 5.0, None, [14, 14]),  # seven turns of two steps
        ("cpu", 5.0, 40, [40, 40]),
        ("cuda", 0.01, 20, [350, 84, 350, 84, 350, 84, 350, 700]),  # seven turns of 12,800 images, or of ten steps
    ],
)
def test_how_many_steps_a_training_has(device, step_seconds, steps, counts):
    planned = stages.trainings(torch.device(device), 100_000, step_seconds, steps)
    assert [each.steps for each in planned] == counts


def test_a_training_is_an_epoch_at_most():
    assert [each.steps for each in stages.trainings(CPU, 6_400, 0.01, None)] == [50, 50]


@pytest.mark.parametrize("step", [0.25, 1.0])
def test_the_default_takes_less_than_ten_minutes_on_two_cores(step):
    """Also where a step takes four times as long as on the machine that results/benchmark was measured on."""
    options = Namespace(rounds=3, seconds=1.0, steps=None)
    planned = stages.trainings(CPU, 100_000, step, None)
    seconds = estimate.part_seconds(estimate.Costs(step, 4.0, 0.001), planned, CPU, 2, options)
    assert 200 < sum(seconds.values()) < 600, seconds


def test_a_long_race_says_how_far_it_is(monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr("tiny_imagenet.progress.SECONDS_BETWEEN_LINES", 0.0)
    race({"a": Contestant(lambda: 1), "b": Contestant(lambda: 1)}, rounds=2, seconds=0.0, task="recipe")
    assert [record.message for record in caplog.records][-1] == "recipe: 4 of 4 turns"


def test_training_does_not_wait_until_a_save_is_on_the_disk(monkeypatch):
    monkeypatch.setattr(checkpoint_writer, "to_disk", lambda path: time.sleep(0.5))
    found = steps.saving_seconds(CPU, rounds=2)
    assert len(found["waits"]) == 2
    assert all(0 < waits < total - 0.3 for waits, total in zip(*found.values(), strict=True))


def test_a_training_that_fails_has_a_row_and_the_others_are_measured(data, monkeypatch):
    def fit(options, count, turn):
        if "--config=resnet18_aug.yaml" in options:
            raise RuntimeError("training.py fit failed:\nerror: out of memory\n")
        return {
            "images_per_s": 128.0,
            "ratio": 0.9,
            "gpu_percent": None,
            "precision": "32-true",
            "flops_per_image": 1e6,
            "share_of_peak": 1.05,
        }

    monkeypatch.setattr(steps, "fit_beside_bare_loop", fit)
    monkeypatch.setattr(steps, "ancestor_training", lambda *_: Contestant(lambda: time.sleep(0.1) or 2))
    planned = stages.trainings(CPU, 115, 0.1, 4)
    training = stages.training_steps(data, planned, [], CPU, 0, Namespace(seconds=0.3))
    found = table({"images": {"parts": {}}, "training": training, "saving": {"waits": [0.0], "on the disk": [1.0]},
                   "choices": {}, "start": {}, "memory": {"1": None, "4": None}})  # fmt: skip
    rows = {what: (measured, comparison) for what, measured, comparison in found.to_numpy()}
    assert rows["training: resnet18_aug, batch 128"] == ("failed", "error: out of memory")
    measured, comparison = rows["training: resnet18_baseline, batch 128"]
    assert (measured, comparison) == ("128 images/s", "0.900 of a bare loop; as fast as a matrix product")
    speedup = float(rows[f"training: {stages.ANCESTOR}"][1].removeprefix("this project is ").split()[0])
    assert speedup == pytest.approx(128 / 20, rel=0.2), "compared with the first training that did not fail"


def test_the_ancestor_trains_in_turns_with_this_project_and_may_fail(data, monkeypatch, capsys):
    order, result = [], {"images_per_s": 1.0, "precision": "32-true", "flops_per_image": 1.0}
    planned = stages.trainings(CPU, 115, 0.1, 4)
    monkeypatch.setattr(steps, "fit_beside_bare_loop", lambda options, *_: order.append(options[0]) or dict(result))

    def measured(step) -> dict:
        monkeypatch.setattr(steps, "ancestor_training", lambda *_: Contestant(step))
        return stages.training_steps(data, planned, [], CPU, 0, Namespace(seconds=0.0))

    found = measured(lambda: order.append("the ancestor") or 1)
    assert order == ["the ancestor", "--config=resnet18_aug.yaml"] + ["the ancestor", "--config=resnet18_baseline.yaml"]
    assert list(found)[-1] == stages.ANCESTOR
    found = measured(lambda: 1 / 0)
    assert [name.split(",")[0] for name in found] == ["resnet18_aug", "resnet18_baseline"]
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_gpu_utilisation_is_sampled(tmp_path, monkeypatch):
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 0\necho 97\necho '[N/A]'\nexec sleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    before = time.time()
    with steps.gpu_use() as samples:
        time.sleep(0.5)
        while_in_use = len(samples)
    assert while_in_use == 2
    assert [percent for _, percent in samples] == [0, 97] and all(before < at < time.time() for at, _ in samples)
    monkeypatch.setenv("PATH", "")
    with steps.gpu_use() as samples:
        pass
    assert samples == []


@pytest.mark.slow
def test_fit_is_timed_beside_a_bare_loop_and_to_its_first_step(small):
    options = ["--config=resnet18_aug.yaml", *small, "--data.batch_size=4"]
    found = steps.fit_beside_bare_loop(options, steps=28, turn=10)
    assert found["turns"] == 1 and found["images_per_s"] > 0
    assert 0.1 < found["ratio"] < 1.5
    # ResNet-18 at an eighth of its width: forward and backward take three times the forward's arithmetic.
    assert 1e6 < found["flops_per_image"] < 1e8
    assert 0 < found["share_of_peak"] < 1
    reached = list(steps.first_step(options).values())
    assert reached == sorted(reached) and 1 < reached[0] < 120


@pytest.mark.slow
def test_processes_share_the_packed_images(tmp_path):
    images = packed_of(write_jpegs(tmp_path / "train"), size=512)  # 68 MiB
    found = [reading_memory(images, processes) for processes in (1, 4)]
    if None in found:
        pytest.skip("needs Linux's figures of shared memory")
    one, four = (memory["images"] for memory in found)
    size = images.images.nbytes / 2**20
    assert one > 0.8 * size and four < 1.2 * one
    assert all(memory["all"] - memory["images"] > 100 for memory in found), "Python and torch take more than 100 MiB"


@pytest.mark.slow
def test_the_command_measures_every_stage_and_tabulates_it(tmp_path, monkeypatch, capsys):
    images = {"train_per_class": 600, "val_per_class": 2, "test_images": 2}  # eight batches and a tenth held out
    write_synthetic_archive(tmp_path / "two.zip", classes=2, seed=0, **images)
    monkeypatch.chdir(tmp_path)
    variants = choices.contestants

    def uncompiled(*arguments):
        return {name: variant for name, variant in variants(*arguments).items() if name != "compiled"}

    monkeypatch.setattr(choices, "contestants", uncompiled)  # compiling takes a minute
    main(["--archive=two.zip", "--md5=null", "--rounds=1", "--seconds=0.01", "--steps=8"])
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.*?) \|$", (tmp_path / "benchmark" / "benchmark.md").read_text(), re.M)
    table = {what: (measured, comparison) for what, measured, comparison in rows}
    out, err = capsys.readouterr()
    assert (tmp_path / "benchmark" / "benchmark.md").read_text() in out
    assert re.search(r"The benchmark takes about \d+ (s|min|h)", err.partition("measuring memory")[0]), (
        "before all else"
    )
    assert re.search(r"measuring training: about \d+ (s|min)", err) and "The benchmark took " in err
    for what in ("decode and pack", "read a batch", f"crop + flip: {stages.ANCESTOR}", "start, until first batch",
                 "training: resnet18_aug, batch 128", "training: resnet18_baseline, batch 128",
                 f"training: {stages.ANCESTOR}"):  # fmt: skip
        assert re.match(r"[\d,.]*[1-9]", table[what][0]), f"{what}: {table[what]}"
    assert re.match(r"[01]\.\d+ of a bare loop", table["training: resnet18_aug, batch 128"][1])
    results = json.loads((tmp_path / "benchmark" / "benchmark.json").read_text())
    assert [list(map(int, line)) for line in results["curves"].values()] == [
        [32, 64, 128, 256, 512, 1024], [32, 48, 64, 96, 128], [0, 1, 2, 4],
    ]  # fmt: skip
    assert list(results["start"]) == ["import lightning.pytorch.cli", "imports, command line, data", "network, loader",
                                      "first batch"]  # fmt: skip
    with Image.open(tmp_path / "benchmark" / "benchmark.png") as picture:
        assert min(picture.size) > 300
    assert not (tmp_path / "runs").exists(), "the trainings write nothing here"
