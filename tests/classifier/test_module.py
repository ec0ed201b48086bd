"""The LightningModule: the reported size, the loss, compiled networks, and untrusted checkpoints."""

import shutil
import sys
from contextlib import suppress
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from jsonargparse import _common
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18

from tests.helpers.checkpoints import save_alone
from tests.helpers.networks import classifier
from tests.helpers.tables import table
from tiny_imagenet.classifier import ImageClassifier
from tiny_imagenet.data import TinyImageNetDataModule
from tiny_imagenet.errors import UserError


def test_the_size_of_the_network_is_reported(run, small):
    status, output = run("fit", *small, "--trainer.max_epochs=1", "--model.freeze=[conv1]")
    network = resnet18(num_classes=4)
    # At an eighth of the width, kernels have 1/64 of the weights, except those of the first convolution and the head.
    inner = sum(p.numel() for name, p in network.named_parameters() if p.ndim == 4 and name != "conv1.weight") // 64
    outer = sum(p.numel() for name, p in network.named_parameters() if p.ndim == 1 and name != "fc.bias") // 8
    total = inner + outer + 3 * 8 * 49 + 64 * 4 + 4
    assert status == 0 and f"resnet18: {total:,} parameters, {3 * 8 * 49:,} of them frozen." in output, output


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_network_of_eight_channels_trains_on_two_threads(launch, small, precision):
    """115 images, in batches of 15 and 14, which threads share unevenly (torch needs maps of 16×16 to crash)."""
    options = ["--trainer.max_epochs=1", "--model.stem=small", f"--trainer.precision={precision}"]
    status, output = launch("fit", *small, *options, threads=2)
    assert status == 0, output


def test_frozen_parts_stay_as_they_are_until_they_are_unfrozen(run, small, tmp_path):
    options = ["--model.freeze=[conv1,bn1,layer1]", '--model.unfreeze_at={"bn1": 2, "layer1": 1}']
    fit = ["fit", *small, "--trainer.max_epochs=1", *options]
    status, output = run(*fit)
    assert status == 0, output
    last, states = tmp_path / "runs/defaults/version_0/checkpoints/last.ckpt", []
    for epochs in (1, 2, 3):
        status, output = run(*fit, f"--trainer.max_epochs={epochs}", "--ckpt_path=last")
        assert status == 0, output
        states.append(torch.load(last, weights_only=True)["state_dict"])
        assert ("Epoch 2: layer1 trained from here on." in output) == (epochs == 2)
    names = [name for name in states[0] if name.endswith(("weight", "running_mean"))]
    for before, after, fixed in ((0, 1, ("conv1", "bn1")), (1, 2, ("conv1",))):
        same = {name.split(".")[1] for name in names if states[before][name].equal(states[after][name])}
        assert same == set(fixed)


@pytest.mark.parametrize("unfreeze_at", [{"layer1": 0}, {"layer2": 1}])
def test_only_what_is_frozen_can_be_unfrozen(unfreeze_at):
    with pytest.raises(UserError, match=f"unfreeze_at: {next(iter(unfreeze_at))}: .* that freeze names .layer1"):
        ImageClassifier(freeze=["layer1"], unfreeze_at=unfreeze_at)


def test_label_smoothing_gives_each_class_a_fraction_of_the_target(trained):
    model = ImageClassifier.load_from_checkpoint(trained / "checkpoints" / "best.ckpt", label_smoothing=0.2).eval()
    images, targets = torch.randn(6, 3, 32, 32), torch.tensor([0, 1, 2, 3, 0, 1])
    model.trainer = pl.Trainer(logger=False, accelerator="cpu", log_every_n_steps=2)
    with torch.no_grad():
        found = model.training_step((images, targets), 0)
        logits = model(images).double().numpy()
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -0.8 * logs[np.arange(6), targets.numpy()] - 0.2 * logs.mean(axis=1)
    assert found.item() == pytest.approx(expected.mean(), rel=1e-5)


def test_a_checkpoint_keeps_its_downsampling(tmp_path):
    answers, images = {}, torch.randn(4, 3, 32, 32)
    for downsampling in ("stride", "max_pool"):
        model = classifier(downsampling=downsampling)
        checkpoint = save_alone(model, tmp_path / f"{downsampling}.ckpt")
        loaded = ImageClassifier.load_from_checkpoint(checkpoint).eval()
        answers[downsampling] = loaded(images).detach()
        torch.testing.assert_close(answers[downsampling], model(images).detach())
        content = torch.load(checkpoint, weights_only=True)
        del content["hyper_parameters"]["downsampling"]  # as written before there was a choice
        torch.save(content, checkpoint)
        other = ImageClassifier.load_from_checkpoint(checkpoint).eval()
        assert other(images).allclose(answers[downsampling]) == (downsampling == "stride")
    assert not answers["stride"].allclose(answers["max_pool"])


def test_weights_of_another_network_with_the_same_shapes_are_refused(tmp_path):
    checkpoint = torch.load(save_alone(classifier(stem="small"), tmp_path / "x.ckpt"), weights_only=True)
    ImageClassifier(width=0.125, stem="small").on_load_checkpoint(checkpoint)
    for name, other in {"stem": "pool", "downsampling": "max_pool"}.items():
        with pytest.raises(UserError, match=rf"trained with model.{name} \w+, not {other}: leave out --model.{name}"):
            ImageClassifier(**{"width": 0.125, "stem": "small", name: other}).on_load_checkpoint(checkpoint)
    del checkpoint["hyper_parameters"]["downsampling"]  # as written before there was a choice
    with pytest.raises(UserError, match="trained with model.downsampling stride, not max_pool"):
        ImageClassifier(width=0.125, stem="small", downsampling="max_pool").on_load_checkpoint(checkpoint)


def test_a_checkpoint_that_names_a_class_runs_no_code(trained, tmp_path, monkeypatch):
    """Even with weights_only, Lightning would instantiate classes named in the hyperparameters with jsonargparse."""
    (tmp_path / "strange.py").write_text(
        "open('attacked', 'w').close()\nfrom torch.optim import SGD\nclass Code(SGD): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    checkpoint = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["hyper_parameters"] |= {
        "_instantiator": "lightning.pytorch.cli.instantiate_module",
        "optimizer": {"class_path": "strange.Code", "init_args": {"lr": 0.1}},
    }
    torch.save(checkpoint, "evil.ckpt")
    monkeypatch.setitem(
        _common.parsing_settings, "import_paths_enforced", False
    )  # as if no command line had been parsed
    with suppress(Exception):
        super(ImageClassifier, ImageClassifier).load_from_checkpoint("evil.ckpt", weights_only=True)
    attacked = Path("attacked")
    assert attacked.exists(), "without the guard, the attack succeeds"
    attacked.unlink()
    sys.modules.pop("strange")
    with suppress(Exception):
        ImageClassifier.load_from_checkpoint("evil.ckpt")
    assert not attacked.exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_network_learns_like_an_uncompiled_one_and_its_checkpoint_fits_both(run, small, tmp_path):
    # A rate so low that rounding errors do not grow.
    options = ["--config=resnet18_aug.yaml", *small, "--trainer.max_epochs=1", "--model.optimizer.lr=0.001"]
    rows = []
    for version, compiled in enumerate(("false", "true")):
        status, output = run("fit", *options, f"--model.compile={compiled}")
        assert status == 0, output
        rows += table(tmp_path / f"runs/resnet18_aug/version_{version}/metrics.csv")
    for name in ("train/loss", "val/loss"):
        assert float(rows[1][name]) == pytest.approx(float(rows[0][name]), rel=1e-3)
    best = tmp_path / "runs/resnet18_aug/version_1/checkpoints/best.ckpt"
    status, output = run("test", f"--ckpt_path={best}", "--model.compile=false")
    assert status == 0, output


def test_a_plain_trainer_trains_tests_and_predicts_with_or_without_the_data_module(archive, data_root, tmp_path):
    data = TinyImageNetDataModule(root=str(data_root), archive=str(archive), md5=None, image_size=32, batch_size=16)
    model = ImageClassifier("resnet18", width=0.125, stem="imagenet")
    trainer = pl.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.fit(model, data)
    (with_module,) = trainer.test(model, data, verbose=False)
    assert sum(len(probabilities) for probabilities in trainer.predict(model, data)) == 10
    data.setup("test")
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.info.mean, model.info.std))
    images, targets = data.sets["test"][np.arange(48)]
    resized = torch.nn.functional.interpolate(images / 255, (32, 32), mode="bilinear", antialias=True)
    loader = DataLoader(TensorDataset((resized - mean) / std, targets), batch_size=20)
    (with_loader,) = pl.Trainer(logger=False, accelerator="cpu").test(model, loader, verbose=False)
    assert with_loader["test/top1"] == pytest.approx(with_module["test/top1"], abs=1.1 / 48)
    with pytest.raises(UserError, match="needs a data module"):
        pl.Trainer(max_epochs=1, logger=False, enable_checkpointing=False).fit(ImageClassifier(), loader)
