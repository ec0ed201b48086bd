"""`python -m tiny_imagenet.export`: the file, what is said of it, and errors, after which nothing is left."""

import errno
import json
import os
import re
import resource
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from PIL import Image

from tests.helpers.checkpoints import save_alone, write_empty
from tests.helpers.networks import classifier
from tests.helpers.pages import DOCS, blocks
from tests.helpers.paths import ROOT
from tests.helpers.tables import table
from tiny_imagenet.export import check, packages
from tiny_imagenet.export.network import ExportedNetwork
from tiny_imagenet.export.source import read_source

NAMES = ['say "cheese"', "two\nlines", "\N{DOG FACE} d'or, \\ chien", "\udcff"]  # the last: bytes that are not UTF-8
# Neither this project nor torch, for a program of a page.
ALONE = "import sys; sys.modules.update(dict.fromkeys({absent}));exec(open('program.py').read())"


def alone(folder, program: str, *arguments: str, absent=("tiny_imagenet", "torch")) -> str:
    """What a program prints in a process that can't import some packages."""
    (folder / "program.py").write_text(program)
    command = [sys.executable, "-c", ALONE.format(absent=absent), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_programs_of_the_page_predict_like_the_command(trained, run, export, tmp_path):
    Image.effect_mandelbrot((90, 50), (-2, -1, 1, 1), 50).convert("RGB").save(tmp_path / "cat.png")
    status, output = run("test", f"--ckpt_path={trained}")
    assert status == 0, output
    status, output = run("predict", f"--ckpt_path={trained}", "--data.images=cat.png")
    assert status == 0, output
    (row,) = table(trained / "predictions.csv")
    answers = [(row[f"name{n}"], float(row[f"p{n}"])) for n in (1, 2, 3)]

    status, output = export(trained, "--out", tmp_path / "best.onnx")
    assert status == 0, output
    assert "32×32 pixels: the same class for 408 of 408 images" in output, "48 test images, several times"
    assert "80×54 pixels" in output and "19×29 pixels" in output and "noise" not in output
    rates = r"images/s at batch 1 \(the network [\d,]+\), [\d,]+ images/s at batch 64 \(the network [\d,]+\)\.\n"
    assert re.search(rf"best\.onnx: \d+\.\d kB, [\d,]+ {rates}", output), output
    python, of_torch = blocks(DOCS / "use-elsewhere.md", "python")
    printed = alone(tmp_path, python, "cat.png").splitlines()
    for line, (name, probability) in zip(printed, answers, strict=True):
        found, _, number = line.rpartition(" ")
        assert found == name and float(number) == pytest.approx(probability, abs=1e-4)

    facts = onnxruntime.InferenceSession(tmp_path / "best.onnx").get_modelmeta().custom_metadata_map
    assert facts["run"] == "resnet18_aug/version_0" and facts["precision"] == "float32"
    assert float(facts["test_top1"]) == json.loads((trained / "test_metrics.json").read_text())["top1"]

    status, output = export(trained, "--format=torch_export", "--out=best.pt2")
    assert status == 0, output
    assert alone(tmp_path, of_torch, absent=("tiny_imagenet",)).strip() in {row[f"name{n}"] for n in (1, 2, 3, 4)}
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "cat.png", "program.py", "best.onnx", "best.pt2"}


def test_a_checkpoint_without_its_run_is_checked_on_noise(export, tmp_path):
    model = classifier(NAMES, tta=True, dropout=0.5)
    checkpoint = save_alone(model, tmp_path / "x.ckpt")
    status, output = export(checkpoint, "--opset=20")
    assert status == 0, output
    assert f"Checked on noise instead of test images: {checkpoint} came without" in output
    content = onnx.load(tmp_path / "x.onnx")
    assert [each.version for each in content.opset_import if not each.domain] == [20]
    facts = {each.key: each.value for each in content.metadata_props}
    assert json.loads(facts["class_names"]) == NAMES and json.loads(facts["class_ids"]) == ["c0", "c1", "c2", "c3"]
    assert facts["image_size"] == "32" and json.loads(facts["mean"]) == [0.48, 0.45, 0.4]
    sha256 = subprocess.run(["sha256sum", checkpoint], capture_output=True, text=True).stdout.split()[0]
    assert facts["checkpoint_sha256"] == sha256
    assert not {"run", "test_top1"} & facts.keys()
    for place in (ROOT, sys.prefix):
        assert str(place).encode() not in (tmp_path / "x.onnx").read_bytes(), "no paths of this machine"
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx")
    for size in ((1, 3, 1, 1), (5, 3, 32, 32), (2, 3, 100, 20)):
        (found,) = session.run(None, {"images": np.zeros(size, np.uint8)})
        assert found.shape == (size[0], 4)
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_a_file_that_answers_otherwise_is_not_kept(export, tmp_path, monkeypatch):
    checkpoint = save_alone(classifier(), tmp_path / "x.ckpt")
    (tmp_path / "x.onnx").write_text("an earlier file")
    forward = ExportedNetwork.forward
    # BGR for RGB, the classic mistake.
    monkeypatch.setattr(ExportedNetwork, "forward", lambda self, images: forward(self, images.flip(1)))
    status, output = export(checkpoint)
    assert status == 1
    assert "error: The file does not answer as the network does, and was not kept. 32×32 pixels: the same" in output
    assert {path.name for path in tmp_path.iterdir()} == {"x.ckpt", "x.onnx"}
    assert (tmp_path / "x.onnx").read_text() == "an earlier file"


@pytest.mark.slow  # three exports
def test_smaller_numbers_are_kept_if_the_accuracy_stays(trained, export, tmp_path):
    whole = tmp_path / "whole.onnx"
    views = "--model.tta=true"  # of which each must not have weights of its own
    assert export(trained, views, "--out", whole)[0] == 0
    for option, precision, size in (("--half", "float16", 0.6), ("--int8", "int8", 0.5)):
        status, output = export(trained, views, option, "--out=small.onnx")
        assert re.search(r"top-1 [\d.]+ % on 48 test images, [\d.]+ % before", output), output
        before, after = (float(re.search(rf"([\d.]+) % {where}", output)[1]) for where in ("before", "on 48"))
        assert status == (before - after > 0.5)
        if status == 0:
            facts = {each.key: each.value for each in onnx.load(tmp_path / "small.onnx").metadata_props}
            assert facts["precision"] == precision and facts["run"] == "resnet18_aug/version_0"
            assert (tmp_path / "small.onnx").stat().st_size < size * whole.stat().st_size
            (tmp_path / "small.onnx").unlink()
        else:
            assert "error: The file is not accurate enough, and was not kept" in output
            assert not (tmp_path / "small.onnx").exists()


class Payload:
    def __reduce__(self):
        return os.system, ("touch attacked",)


def damaged(path):
    save_alone(classifier(), path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def of_a_stranger(path):
    torch.save({**torch.load(write_empty(path), weights_only=True), "attack": Payload()}, path)


def of_another_project(path):
    torch.save({"state_dict": {}}, path)


def changed(**dataset):
    """A checkpoint of which this is changed in what it says of its data."""

    def write(path):
        content = torch.load(save_alone(classifier(), path), weights_only=True)
        content["dataset"].update(dataset)
        torch.save(content, path)

    return write


FAULTS = {
    "damaged": (damaged, [], "x.ckpt is damaged or no checkpoint"),
    "runs code": (of_a_stranger, [], "It could run code, so it is not opened"),
    "another project's": (of_another_project, [], "x.ckpt was not written by this project"),
    "one weight": (write_empty, [], "The checkpoint's weights do not fit the network: "),
    "names of another type": (changed(class_names=[1, 2, 3]), [], "its dataset.class_names must be 3 texts, as many"),
    "too few names": (changed(class_names=["a"]), [], "its dataset.class_names must be 3 texts, as many"),
    "huge images": (changed(image_size=10**9), [], "its dataset.image_size must be a number of pixels from 1 to 4096"),
    "mean of one channel": (changed(mean=[0.5]), [], "its dataset.mean must be three numbers"),
    "unknown entry": (changed(colour="red"), [], "its dataset must be class_ids, class_names, image_size, mean, std"),
    "unknown opset": (damaged, ["--opset=99"], "--opset must be from 18 to 25, not 99"),
    "opset of torch.export": (damaged, ["--format=torch_export", "--opset=20"], "are for --format onnx, not torch"),
    "no folder": (None, ["--out=nowhere/x.onnx"], "there is no folder nowhere"),
    "a folder": (None, ["--out=."], "--out . is a folder"),
    "the checkpoint itself": (None, ["--out=x.ckpt"], "is the checkpoint itself"),
    "no data for the accuracy": (None, ["--half"], "need the run's test images, to measure the accuracy"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_one_message_and_nothing_left(export, tmp_path, fault):
    write, options, message = FAULTS[fault]
    path = tmp_path / "x.ckpt"
    if write:
        write(path)
    else:
        save_alone(classifier(), path)
    content = path.read_bytes()
    status, output = export(path, *options)
    assert status == 1 and output.startswith("error: ") and message in output, output
    assert output.count("\n") == 1, output
    assert [each.name for each in tmp_path.iterdir()] == ["x.ckpt"] and path.read_bytes() == content


def test_a_stranger_s_config_runs_no_code(trained, export, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    code = "open('attacked', 'w').close()\nfrom lightning.pytorch import Callback\nclass Code(Callback): pass\n"
    (tmp_path / "strange.py").write_text(code)
    config = yaml.safe_load((trained / "config.yaml").read_text())
    config["trainer"]["callbacks"] = [{"class_path": "strange.Code"}]
    (trained / "config.yaml").write_text(yaml.safe_dump(config))
    status, output = export(trained)
    assert status == 1 and "a config may not name strange.Code" in output, output
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "strange.py"}


def test_data_that_is_not_here_is_not_downloaded(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["export"])
    source = read_source(str(trained), ["--data.archive=http://127.0.0.1:9/set.zip", "--data.root=nowhere"])
    assert source.test_images() is None
    assert source.missing == "http://127.0.0.1:9/set.zip was not downloaded to nowhere"
    assert not (tmp_path / "nowhere").exists()


def test_the_views_may_be_chosen(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["export"])
    assert not read_source(str(trained), []).classifier.hparams.tta
    assert read_source(str(trained), ["--model.tta=true"]).classifier.hparams.tta


def test_the_page_of_help_is_short_and_needs_no_torch():
    code = "import sys, tiny_imagenet.export.__main__ as export; sys.modules['torch'] = None; export.main(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 10 < len(done.stdout.splitlines()) < 30 and "--opset N" in done.stdout


def test_there_is_no_checkpoint(export):
    status, output = export("best")
    assert status == 1 and output.startswith("error: --ckpt_path best: no run in "), output


def test_an_option_is_wrong(export, trained):
    status, output = export(trained, "--model.tat=true")
    assert status == 1 and "no option --model.tat. Did you mean --model.tta" in output


def test_a_missing_package_is_named_with_the_command(export, monkeypatch):
    monkeypatch.setitem(packages.FORMATS, "onnx", packages.Format(".onnx", ("onnx", "no_such_package")))
    status, output = export("best")
    assert status == 1
    assert output == (
        "error: --format onnx needs the package(s) no_such_package. In the folder of this project: "
        "pip install -e '.[export]'\n"
    )


def test_a_full_disk(export, tmp_path):
    checkpoint = save_alone(classifier(), tmp_path / "x.ckpt")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        status, output = export(checkpoint)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert status == 1
    assert re.fullmatch(
        r"error: \S+x\.onnx \([\d.]+ kB\) can't be written: .*\. Free some space there, or .*\n", output
    )
    assert [path.name for path in tmp_path.iterdir()] == ["x.ckpt"]


def test_a_folder_of_temporary_files_that_is_full_is_named(export, monkeypatch, tmp_path):
    save_alone(classifier(), tmp_path / "x.ckpt")

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(check.tempfile, "TemporaryDirectory", full)
    status, output = export("x.ckpt", "--out=out.onnx")
    assert status == 1 and f"Files in {check.tempfile.gettempdir()} can't be written: No space left" in output, output
    assert not (tmp_path / "out.onnx").exists()
