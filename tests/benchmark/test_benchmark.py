"""The benchmark: its timing, and that the alternatives it compares do the same work."""

import json
import os
import re
import time
from argparse import Namespace
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from tests.helpers.jpegs import packed_of, write_jpegs
from tiny_imagenet import threads
from tiny_imagenet.benchmark import alternatives, callbacks, choices, estimate, pipelines, stages, steps
from tiny_imagenet.benchmark.__main__ import main, table
from tiny_imagenet.benchmark.memory import reading_memory
from tiny_imagenet.benchmark.timing import Contestant
from tiny_imagenet.data.sets.textures import write_synthetic_archive
from tiny_imagenet.run import checkpoint_writer

CPU = torch.device("cpu")


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


def test_a_matrix_product_s_rate_is_that_of_its_arithmetic(monkeypatch):
    product = callbacks.MatrixProduct(CPU, "32-true")
    product.side = 256
    product.left, product.right = torch.randn(2, 256, 256)
    times = iter([0, 3, 10, 12, 20, 25])
    monkeypatch.setattr(callbacks.time, "perf_counter", lambda: next(times))
    # 256 x 256 x 256 multiplications and as many additions, of which the fastest of three takes 2 s.
    assert product.flops_per_second() == 33_554_432 / 2


@pytest.mark.parametrize(
    ("device", "step_seconds", "steps", "counts"),
    [
        ("cpu", 0.25, None, [60, 14, 60]),  # 15 s of fit, and 15 s of the bare loop; beside a busy process seven turns
        ("cpu", 0.01, None, [200, 14, 200]),
        ("cpu", 5.0, None, [14, 14, 14]),  # seven turns of two steps
        ("cpu", 5.0, 40, [40, 14, 40]),
        # Seven turns of a second, or of five steps: 0.02 s with ResNet-18 at batch 256, four times that at batch 1024,
        # twice with ResNet-34, 2.5 times with ResNet-50.
        ("cuda", 0.01, 20, [350, 350, 84, 175, 42, 140, 35, 350, 700]),
    ],
)
def test_how_many_steps_a_training_has(device, step_seconds, steps, counts):
    planned = stages.trainings(torch.device(device), 100_000, step_seconds, steps)
    assert [each.steps for each in planned] == counts
    assert [each.busy for each in planned] == [False, True] + [False] * (len(counts) - 2)


def test_a_training_is_an_epoch_at_most():
    assert [each.steps for each in stages.trainings(CPU, 6_400, 0.01, None)] == [50, 14, 50]


@pytest.mark.parametrize("packages", [(), alternatives.PACKAGES])
@pytest.mark.parametrize("step", [0.25, 1.0])
def test_the_default_takes_less_than_ten_minutes_on_two_cores(step, packages, monkeypatch):
    """Also where a step takes four times as long as on the machine that results/benchmark was measured on."""
    monkeypatch.setattr(alternatives, "installed", lambda: dict.fromkeys(packages, "1.0"))
    options = Namespace(rounds=3, seconds=1.0, steps=None)
    planned = stages.trainings(CPU, 100_000, step, None)
    seconds = estimate.part_seconds(estimate.Costs(step, 4.0, 0.001), planned, CPU, 2, options)
    assert 200 < sum(seconds.values()) < 600, seconds


def test_training_does_not_wait_until_a_save_is_on_the_disk(monkeypatch):
    monkeypatch.setattr(checkpoint_writer, "to_disk", lambda path: time.sleep(0.5))
    found = steps.saving_seconds(CPU, rounds=2)
    assert len(found["waits"]) == 2
    assert all(0 < waits < total - 0.3 for waits, total in zip(*found.values(), strict=True))


@pytest.fixture
def quick_trainings(monkeypatch):
    """Instead of training, sleep: a bare step has 2,560 images/s, the ancestor 20."""
    bare = Contestant(lambda: time.sleep(0.05) or 128)
    monkeypatch.setattr(choices, "contestants", lambda *_: {choices.DEFAULT: bare})
    monkeypatch.setattr(steps, "ancestor_training", lambda *_: Contestant(lambda: time.sleep(0.1) or 2))
    result = {"images_per_s": 128.0, "images_per_cpu_s": 64.4, "ratio": 0.9, "gpu_percent": None, "share_of_peak": 1.05}
    monkeypatch.setattr(steps, "fit_beside_bare_loop", lambda *_: dict(result))
    monkeypatch.setattr(alternatives, "installed", dict)


def rows_of(training, **recipes) -> dict[str, tuple[str, str, str]]:
    found = table({"images": {"parts": {}, **recipes}, "training": training, "choices": {}, "start": {},
                   "saving": {"waits": [0.0], "on the disk": [1.0]}, "memory": {"1": None, "4": None}})  # fmt: skip
    return {what: tuple(others) for what, *others in found.to_numpy()}


def test_a_training_that_fails_has_a_row_and_the_others_are_measured(data, monkeypatch, quick_trainings):
    others = steps.fit_beside_bare_loop

    def fit(options, *lengths):
        if "--config=resnet18_aug.yaml" in options:
            raise RuntimeError("training.py fit failed:\nerror: out of memory\n")
        return others(options, *lengths)

    monkeypatch.setattr(steps, "fit_beside_bare_loop", fit)
    planned = stages.trainings(CPU, 115, 0.1, 4)
    rows = rows_of(stages.training_steps(data, planned, [], CPU, 0, Namespace(rounds=2, seconds=0.3)))
    assert rows["training: resnet18_aug, batch 128"] == ("failed", "", "error: out of memory")
    assert rows[f"training: resnet18_aug, batch 128, {stages.BUSY}"] == ("failed", "", "error: out of memory")
    measured = ("128 images/s", "64", "0.900 of a bare loop; as fast as a matrix product")
    assert rows["training: resnet18_baseline, batch 128"] == measured
    speedup = re.search(r"this project is ([\d.]+) times as fast", rows[f"training: {stages.ANCESTOR}"][2])[1]
    assert float(speedup) == pytest.approx(0.9 * 2560 / 20, rel=0.2), "both are compared with a bare loop"


def test_a_pipeline_is_compared_with_this_project_s_and_beside_a_busy_process_with_itself_alone():
    def rates(*values: float) -> dict[str, list[float]]:
        return {"images_per_s": list(values), "images_per_cpu_s": [2 * value for value in values]}

    ours = {stages.OURS: rates(100, 200), f"{stages.OURS}, {stages.BUSY}": rates(50, 100)}
    rows = rows_of({}, crop=ours | {"faster": rates(400, 800), "slower": rates(25, 50)})
    assert rows[f"crop: {stages.OURS}"] == ("150 images/s", "300", "")
    assert rows[f"crop: {stages.OURS}, {stages.BUSY}"] == ("75 images/s", "150", "0.50 of its rate alone")
    assert rows["crop: faster"][2] == "this project is 0.25 times as fast"
    assert rows["crop: slower"][2] == "this project is 4.0 times as fast"


def test_a_pipeline_beside_a_busy_process_has_the_threads_of_a_training_that_starts_there(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(threads, "cores", lambda: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        monkeypatch.setattr(threads.Load, "busy_cores", lambda self: 1.0)
        monkeypatch.setattr(threads, "_affinity", lambda: {0, 1})
        with stages._beside_a_busy_process():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        with stages._beside_a_busy_process():
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_one_training_is_beside_a_busy_process(data, monkeypatch, quick_trainings):
    happened, others = [], steps.fit_beside_bare_loop

    @contextmanager
    def busy_process():
        happened.append("busy")
        yield
        happened.append("free")

    monkeypatch.setattr(stages, "busy_process", busy_process)
    monkeypatch.setattr(steps, "fit_beside_bare_loop", lambda *_: happened.append("fit") or others(*_))
    planned = stages.trainings(CPU, 115, 0.1, 4)
    found = stages.training_steps(data, planned, [], CPU, 0, Namespace(rounds=1, seconds=0.01))
    assert happened == ["fit", "busy", "fit", "free", "fit"]
    assert list(found)[1] == f"resnet18_aug, batch 128, {stages.BUSY}"


def test_the_ancestor_may_fail(data, monkeypatch, quick_trainings, capsys):
    monkeypatch.setattr(steps, "ancestor_training", lambda *_: Contestant(lambda: 1 / 0))
    planned = stages.trainings(CPU, 115, 0.1, 4)
    found = stages.training_steps(data, planned, [], CPU, 0, Namespace(rounds=1, seconds=0.01))
    assert [name.split(",")[0] for name in found] == ["resnet18_aug", "resnet18_aug", "resnet18_baseline"]
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
    images = {"train_per_class": 150, "val_per_class": 2, "test_images": 2}  # eight batches and a tenth held out
    write_synthetic_archive(tmp_path / "two.zip", classes=2, seed=0, **images)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stages, "BATCH", 32)
    variants = choices.contestants

    def uncompiled(*arguments):
        return {name: variant for name, variant in variants(*arguments).items() if name != "compiled"}

    monkeypatch.setattr(choices, "contestants", uncompiled)  # compiling takes a minute
    main(["--archive=two.zip", "--md5=null", "--rounds=1", "--seconds=0.01", "--steps=8"])
    rows = re.findall(
        r"^\| (.+?) \| (.+?) \| (.*?) \| (.*?) \|$", (tmp_path / "benchmark" / "benchmark.md").read_text(), re.M
    )
    table = {what: others for what, *others in rows}
    out, err = capsys.readouterr()
    assert (tmp_path / "benchmark" / "benchmark.md").read_text() in out
    assert re.search(r"The benchmark takes about \d+ (s|min|h)", err.partition("measuring memory")[0]), (
        "before all else"
    )
    assert re.search(r"measuring training: about \d+ (s|min)", err) and "The benchmark took " in err
    for what in ("decode and pack", "read a batch", f"crop + flip: {stages.ANCESTOR}", "start, until first batch",
                 "training: resnet18_aug, batch 32", "training: resnet18_baseline, batch 32",
                 f"training: resnet18_aug, batch 32, {stages.BUSY}", f"training: {stages.ANCESTOR}",
                 f"crop + flip: {stages.OURS}, {stages.BUSY}", f"crop + flip: {stages.TORCHVISION}, {stages.BUSY}",
                 ):  # fmt: skip
        assert re.match(r"[\d,.]*[1-9]", table[what][0]), f"{what}: {table[what]}"
        if ": " in what:
            assert re.match(r"[\d,]*[1-9]", table[what][1]), f"{what}: {table[what]} has no images per CPU-second"
    assert re.match(r"[01]\.\d+ of a bare loop", table["training: resnet18_aug, batch 32"][2])
    results = json.loads((tmp_path / "benchmark" / "benchmark.json").read_text())
    assert [list(map(int, line)) for line in results["curves"].values()] == [
        [32, 64, 128, 256, 512, 1024], [32, 48, 64, 96, 128], [0, 1, 2, 4],
    ]  # fmt: skip
    assert list(results["start"]) == ["import lightning.pytorch.cli", "imports, command line, data", "network, loader",
                                      "first batch"]  # fmt: skip
    with Image.open(tmp_path / "benchmark" / "benchmark.png") as picture:
        assert min(picture.size) > 300
    assert not (tmp_path / "runs").exists(), "the trainings write nothing here"
