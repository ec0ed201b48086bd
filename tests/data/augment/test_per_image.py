"""Transforms of single images as augmentations of batches."""

import random

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from tests.helpers.comparing import assert_same, contents
from tests.helpers.options import callback
from tiny_imagenet.data.augment.per_image import PerImage
from tiny_imagenet.errors import UserError

IMAGES = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_each_image_is_transformed_on_its_own():
    found = PerImage(lambda image: image.flip(2) if image.sum() % 2 else image)(IMAGES)
    for image, transformed in zip(IMAGES, found, strict=True):
        assert transformed.equal(torch.tensor(np.flip(image.numpy(), 2).copy()) if image.sum() % 2 else image)


def test_it_gets_levels_whatever_came_before():
    seen = []
    PerImage(lambda image: seen.append(image) or image)(IMAGES / 255)
    assert all(image.dtype == torch.uint8 and image.equal(given) for image, given in zip(seen, IMAGES, strict=True))


def test_all_generators_follow_the_step_s_seed_and_are_left_as_they_were():
    def transform(image):
        return torch.full((3, 1, 1), random.random() + np.random.rand() + torch.rand(()).item())

    def draw():
        torch.manual_seed(3)
        return PerImage(transform)(IMAGES)

    first = draw()
    random.seed(8), np.random.seed(8)
    before = random.getstate(), np.random.get_state()[1].tolist()
    assert draw().equal(first) and len(first.unique()) == len(IMAGES)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


@pytest.mark.parametrize("transform", [lambda image: image[:1], lambda image: image.numpy(), v2.ToPILImage()])
def test_what_is_no_image_is_refused(transform):
    with pytest.raises(UserError, match=r"must return images \[3, H, W\] of one size and type"):
        PerImage(transform)(IMAGES)


def test_torchvision_s_and_a_user_s_transforms_train_resume_exactly_and_test(run, small, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import random\nclass Invert:\n    def __init__(self, p: float = 0.5) -> None: self.p = p\n"
        "    def __call__(self, image): return 255 - image if random.random() < self.p else image\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TINY_IMAGENET_ALLOW", "tests,mine")
    (tmp_path / "own.yaml").write_text(
        "data:\n  init_args:\n    augment:\n    - {class_path: RandomHorizontalFlip}\n"
        "    - {class_path: torchvision.transforms.v2.RandomRotation, init_args: {degrees: 15}}\n"
        "    - {class_path: torchvision.transforms.v2.RandAugment}\n"
        "    - {class_path: torchvision.transforms.v2.AutoAugment}\n"
        "    - {class_path: mine.Invert, init_args: {p: 0.3}}\n"
    )
    fit = ["fit", "--config=own.yaml", *small, "--checkpoint.every_n_steps=1"]
    status, output = run(*fit)
    assert status == 0, output
    assert run(*fit, *callback("killing.SignalAt", number=15, at=11))[0] == 143
    status, output = run(*fit, "--ckpt_path=last")
    assert status == 0, output
    runs = tmp_path / "runs" / "own"
    assert_same(contents(runs / "version_1"), contents(runs / "version_0"))
    assert "degrees: 15\n" in (runs / "version_0" / "config.yaml").read_text()
    status, output = run("test", f"--ckpt_path={runs / 'version_0'}")
    assert status == 0, output


@pytest.mark.parametrize(
    ("name", "options", "attribute", "expected"),
    [
        ("RandomRotation", {"degrees": "15"}, "degrees", [-15, 15]),
        ("RandomRotation", {"degrees": "7.5"}, "degrees", [-7.5, 7.5]),
        ("RandomRotation", {"degrees": "[-5,10]"}, "degrees", [-5, 10]),
        ("GaussianBlur", {"kernel_size": "3", "sigma": "[0.1,2]"}, "sigma", [0.1, 2]),
        ("RandomAffine", {"degrees": "10", "translate": "[0.1,0.1]"}, "translate", [0.1, 0.1]),
        ("RandomPerspective", {"distortion_scale": "0.3"}, "distortion_scale", 0.3),
        ("RandomResizedCrop", {"size": "64", "scale": "[0.5,1]"}, "scale", [0.5, 1]),
        ("RandomErasing", {"value": "3"}, "value", [3]),
        ("RandomPosterize", {"bits": "4"}, "bits", 4),
        ("Pad", {"padding": "2", "fill": "1"}, "padding", 2),
    ],
)
def test_options_of_torchvision_s_transforms_are_read_from_the_command_line(parsed, name, options, attribute, expected):
    given = [f"--data.augment.{option}={value}" for option, value in options.items()]
    cli = parsed(f"--data.augment+=torchvision.transforms.v2.{name}", *given)
    found = getattr(cli.datamodule.pipeline.augmentations[-1].transform, attribute)
    assert (list(found) if isinstance(expected, list) else found) == expected


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("RandAugment", "torchvision's is torchvision.transforms.v2.RandAugment"),
        ("torchvision.transforms.v2.CenterCropp", "Did you mean CenterCrop?"),
        ("shutil.copyfile", "a config may not name shutil.copyfile"),
    ],
)
def test_a_wrong_name_gets_the_right_one(run, small, name, told):
    status, output = run("fit", *small, f"--data.augment+={name}")
    assert status == 2 and told in output, output
