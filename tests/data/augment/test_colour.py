"""Colour operations, ColorJitter and TrivialAugmentWide, against torchvision and others on the same parameters."""

import colorsys
import itertools
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from tiny_imagenet.data.augment import ColorJitter, TrivialAugmentWide, jitter, jitter_cpu, trivial
from tiny_imagenet.data.augment.colour import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    adjust_sharpness,
)

PAIRS = [
    (adjust_brightness, F.adjust_brightness),
    (adjust_contrast, F.adjust_contrast),
    (adjust_saturation, F.adjust_saturation),
    (adjust_sharpness, F.adjust_sharpness),
]
ADJUSTMENTS = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def levels(count: int = 48) -> torch.Tensor:
    """uint8 images with all that colour arithmetic stumbles on: grey, black, white, pure and equal channels."""
    images = torch.randint(0, 256, (count, 3, 14, 18), dtype=torch.uint8)
    images[0], images[1], images[2] = 0, 255, images[2, :1]
    images[3, 0], images[4, 1], images[5, 2] = images[3, 1], images[4, 2], images[5, 0]
    images[6] = torch.where(images[6] < 128, 0, 255)
    return images.contiguous(memory_format=torch.channels_last)


def one_by_one(function, images: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
    return torch.stack([function(image, value) for image, value in zip(images, parameters.tolist(), strict=True)])


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda function: function.__name__)
def test_adjustments(ours, theirs):
    images, factors = levels(), torch.rand(48) * 2
    factors[:6] = torch.tensor([0, 1, 2, 0, 1, 2])
    expected = one_by_one(theirs, images / 255, factors)
    torch.testing.assert_close(ours(images / 255, factors), expected, atol=1e-6, rtol=0)
    difference = (ours(images, factors).int() - one_by_one(theirs, images, factors).int()).abs()
    assert difference.max() <= 1 and (difference > 0).float().mean() < 1e-4  # ours has always been exact so far


def test_hue():
    images, shifts = levels() / 255, torch.rand(48) - 0.5
    shifts[:7] = torch.tensor([0.5, -0.5, 0, 0.5, -0.5, 1 / 3, 0])
    torch.testing.assert_close(adjust_hue(images, shifts), one_by_one(F.adjust_hue, images, shifts), atol=1e-5, rtol=0)
    colours = images[:, :, 0, 0].double().tolist()
    expected = [
        colorsys.hsv_to_rgb((hsv[0] + shift) % 1, *hsv[1:])
        for hsv, shift in zip((colorsys.rgb_to_hsv(*colour) for colour in colours), shifts.tolist(), strict=True)
    ]
    torch.testing.assert_close(adjust_hue(images, shifts)[:, :, 0, 0], torch.tensor(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("ours", [jitter.jitter_one_by_one, jitter.jitter_together])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
@pytest.mark.parametrize("used", [(0, 1, 2, 3), (0, 1, 2), (1, 3), (3,), (2,)], ids=str)
def test_jitter_in_every_order(ours, dtype, used):
    images, orders = levels(), list(itertools.permutations(used))
    order = torch.tensor(orders * (48 // len(orders)), dtype=torch.int64)[torch.randperm(48)]
    factors = torch.rand(48, 4) * 2
    factors[:, 3] = factors[:, 3] / 2 - 0.5
    expected = []
    for image, row, kinds in zip(images / 255, factors.tolist(), order.tolist(), strict=True):
        for kind in kinds:
            image = ADJUSTMENTS[kind](image, row[kind])
        expected.append(image)
    levels_or_shares = images if dtype == torch.uint8 else images / 255
    torch.testing.assert_close(ours(levels_or_shares, factors, order), torch.stack(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("ours", [jitter.jitter_one_by_one, jitter.jitter_together])
def test_jitter_takes_images_as_they_lie_and_keeps_them(ours):
    images, factors = levels(), torch.rand(48, 4) / 2
    order = torch.rand(48, 4).argsort(dim=1)
    expected = ours(images, factors, order)
    for same in (images.contiguous(), images.repeat_interleave(2, dim=3)[..., ::2]):
        before = same.clone()
        assert ours(same, factors, order).equal(expected) and same.equal(before)
    for one in range(3):
        alone = slice(one, one + 1)
        torch.testing.assert_close(ours(images[alone], factors[alone], order[alone]), expected[alone])


@pytest.mark.parametrize("writable", [True, False])
def test_compiled_code_is_kept_where_it_may_be(tmp_path, writable):
    shutil.copy(jitter_cpu.__file__, tmp_path)
    if not writable:
        (tmp_path / "__pycache__").write_text("in the way")
    program = (
        "import numpy as np, jitter_cpu\n"
        "print(jitter_cpu.distance(np.float32(0.75)), sum(jitter_cpu.distance.stats.cache_hits.values()))"
    )
    nowhere = {"HOME": os.devnull, "XDG_CACHE_HOME": os.devnull, "PYTHONDONTWRITEBYTECODE": "1"}
    for kept in (0, int(writable)):
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=os.environ | nowhere, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["0.25", str(kept)]


@pytest.mark.parametrize(("device", "way"), [("cpu", "jitter_one_by_one"), ("meta", "jitter_together")])
def test_images_on_a_cpu_are_jittered_one_by_one(monkeypatch, device, way):
    for name in ("jitter_one_by_one", "jitter_together"):
        monkeypatch.setattr(jitter, name, lambda *_, name=name: name)
    assert ColorJitter(0.2)(torch.empty(2, 3, 4, 4, device=device)) == way


def test_jitter_is_drawn_evenly(monkeypatch):
    drawn = {}
    monkeypatch.setattr(jitter, "jitter", lambda images, factors, order: drawn.update(factors=factors, order=order))
    ColorJitter(0.2, [0.5, 0.9], 1.5, 0.1)(torch.empty(24_000, 3, 1, 1))
    factors, order = drawn["factors"], drawn["order"]
    limits = torch.tensor([[0.8, 1.2], [0.5, 0.9], [0.0, 2.5], [-0.1, 0.1]])
    width = limits[:, 1] - limits[:, 0]
    assert (factors >= limits[:, 0]).all() and (factors <= limits[:, 1]).all()
    assert ((factors.mean(dim=0) - limits.mean(dim=1)).abs() < 0.01 * width).all()
    assert torch.allclose(factors.std(dim=0), width / 12**0.5, rtol=0.02)
    assert (torch.corrcoef(factors.T) - torch.eye(4)).abs().max() < 0.03
    kinds, counts = torch.unique(order, dim=0, return_counts=True)
    assert len(kinds) == 24 and (counts - 1000).abs().max() < 150


def test_jitter_of_nothing_only_converts():
    images = levels()
    for nothing in (ColorJitter(), ColorJitter(brightness=[1, 1], hue=[0, 0])):
        assert torch.equal(nothing(images), images / 255)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("name", trivial.OPERATIONS)
def test_trivial_operations(name, interpolation):
    """Every magnitude of every operation in both directions, on images that are not square."""
    magnitudes_of, signed = v2.TrivialAugmentWide._AUGMENTATION_SPACE[name]
    weakest, strongest, ours_signed = trivial.OPERATIONS[name]
    magnitudes = torch.linspace(weakest, strongest, 31)
    theirs = magnitudes_of(31, 14, 18)
    assert signed == ours_signed and (
        theirs is None or torch.equal(theirs, magnitudes.round() if name == "Posterize" else magnitudes)
    )
    mode = v2.InterpolationMode(interpolation)
    reference = v2.TrivialAugmentWide(interpolation=mode)
    images = F.gaussian_blur(levels(31), [3, 3])
    for magnitude in [magnitudes, -magnitudes] if signed else [magnitudes]:
        ours = trivial.apply_operations(
            images, torch.full((31,), list(trivial.OPERATIONS).index(name)), magnitude.double(), interpolation
        )
        expected = [
            reference._apply_image_or_video_transform(
                image, name, round(value) if name == "Posterize" else value, mode, {torch.Tensor: None}
            )
            for image, value in zip(images, magnitude.tolist(), strict=True)
        ]
        difference = (ours.int() - torch.stack(expected).int()).abs()
        # A place half-way between two pixels, or two levels, may be rounded either way.
        allowed = 0.005 if name in ("ShearX", "ShearY", "Rotate") else 0
        assert (difference > 0).float().mean() <= allowed
        assert interpolation == "nearest" or difference.max() <= 1


def test_trivial_mixes_operations_as_if_applied_one_by_one():
    images = levels(200)
    operation, magnitude = trivial.draw_operations(200, 31)
    together = trivial.apply_operations(images, operation, magnitude, fill=77)
    alone = [
        trivial.apply_operations(images[i : i + 1], operation[i : i + 1], magnitude[i : i + 1], fill=77)
        for i in range(200)
    ]
    assert torch.equal(together, torch.cat(alone))


def test_trivial_equalizes_as_pillow_does():
    images = F.gaussian_blur(levels(8), [5, 5])
    operation = torch.full((8,), list(trivial.OPERATIONS).index("Equalize"))
    ours = trivial.apply_operations(images, operation, torch.zeros(8, dtype=torch.float64))
    pillow = [np.array(ImageOps.equalize(Image.fromarray(image.permute(1, 2, 0).numpy()))) for image in images]
    assert np.array_equal(ours.permute(0, 2, 3, 1).numpy(), np.stack(pillow))


def test_trivial_operations_are_drawn_evenly():
    operation, magnitude = trivial.draw_operations(28_000, 31)
    assert (torch.bincount(operation, minlength=14) - 2000).abs().max() < 200
    shears = magnitude[operation == 0]
    assert len(shears.unique()) == 61 and abs(shears.mean()) < 0.06 and (shears.abs().mean() - 0.495).abs() < 0.03
    assert set(magnitude[operation == 10].round().tolist()) == {2, 3, 4, 5, 6, 7, 8}
    assert (magnitude[operation == 11] >= 0).all()
    assert len(trivial.draw_operations(5000, 5)[1].unique()) > 5


def test_trivial_rounds_floats_to_levels():
    images = levels()
    torch.manual_seed(1)
    expected = TrivialAugmentWide()(images)
    torch.manual_seed(1)
    result = TrivialAugmentWide()(images / 255 + 0.001)
    assert result.dtype == torch.uint8 and torch.equal(result, expected)
