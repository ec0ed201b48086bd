"""What holds for every augmentation, and for the way from uint8 levels to a normalised batch."""

import pytest
import torch
from jsonargparse import ArgumentParser
from torchvision.transforms.v2 import functional as F

from tiny_imagenet.data.augment import (
    Augmentation,
    ColorJitter,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    TrivialAugmentWide,
    augment,
    normalize,
)
from tiny_imagenet.errors import UserError

MEAN, STD = torch.tensor([0.48, 0.45, 0.40]), torch.tensor([0.28, 0.27, 0.29])
EACH = [
    RandomCrop(padding=5),
    RandomCrop([20, 17]),
    RandomCrop(padding=5, padding_mode="reflect"),
    RandomHorizontalFlip(),
    RandomResizedCrop(),
    ColorJitter(0.4, 0.4, 0.4, 0.2),
    TrivialAugmentWide(),
    TrivialAugmentWide(interpolation="bilinear", fill=128),
    RandomErasing(p=1.0),
]


def levels(count: int = 32, height: int = 24, width: int = 30, seed: int = 0) -> torch.Tensor:
    """uint8 images in channels-last memory, smooth enough to look like some."""
    coarse = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    smooth = F.resize(coarse, [height, width]).mul(300).sub(20).clamp(0, 255).to(torch.uint8)
    return smooth.contiguous(memory_format=torch.channels_last)


def seeded(seed: int, function, *arguments) -> torch.Tensor:
    torch.manual_seed(seed)
    return function(*arguments)


@pytest.fixture(params=EACH, ids=repr)
def augmentation(request) -> Augmentation:
    return request.param


@pytest.fixture
def images(augmentation) -> torch.Tensor:
    return normalize(levels(), MEAN, STD) if augmentation.after_normalize else levels()


def test_same_seed_same_images(augmentation, images):
    first = seeded(1, augmentation, images)
    torch.rand(7)  # what was drawn in between doesn't matter
    assert torch.equal(first, seeded(1, augmentation, images))
    assert not torch.equal(first, seeded(2, augmentation, images))


def test_images_of_a_batch_are_augmented_differently(augmentation, images):
    same = images[:1].expand(32, -1, -1, -1)
    distinct = len(torch.unique(seeded(3, augmentation, same).flatten(1), dim=0))
    assert distinct == 2 if isinstance(augmentation, RandomHorizontalFlip) else distinct > 12


def test_memory_format_makes_no_difference_and_input_is_kept(augmentation, images):
    before = images.clone()
    planes = images.contiguous()
    shifted = torch.cat([images, images])[32:]  # does not start where its memory does
    expected = seeded(4, augmentation, images)
    assert torch.equal(expected, seeded(4, augmentation, planes))
    assert torch.equal(expected, seeded(4, augmentation, shifted))
    assert torch.equal(images, before) and torch.equal(planes, before)


def test_shapes_and_types(augmentation, images):
    height, width = getattr(augmentation, "size", None) or (24, 30)
    kept = images.dtype if not isinstance(augmentation, ColorJitter) else torch.float32
    for count in (1, 32):
        result = augmentation(images[:count])
        assert result.shape == (count, 3, height, width) and result.dtype == kept


def test_floats_are_augmented_as_levels_are(augmentation):
    if augmentation.after_normalize:
        pytest.skip("works on normalised images only")
    of_levels, of_floats = (seeded(5, augmentation, images) for images in (levels(), levels() / 255))
    as_unit = [images / 255 if images.dtype == torch.uint8 else images for images in (of_levels, of_floats)]
    rounding = 0.51 / 255 if of_levels.dtype != of_floats.dtype else 1e-6
    torch.testing.assert_close(*as_unit, atol=rounding, rtol=0)


@pytest.mark.parametrize("images", [levels(), levels().contiguous(), levels() / 255, levels(1)])
def test_without_augmentation_a_batch_is_only_normalised(images):
    result = augment(images, [], MEAN, STD)
    expected = F.normalize(F.to_dtype(images, torch.float32, scale=True), MEAN.tolist(), STD.tolist())
    torch.testing.assert_close(result, expected, atol=2e-6, rtol=1e-6)
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_all_of_them_in_a_row_give_a_normalised_channels_last_batch():
    result = seeded(0, augment, levels(), EACH, MEAN, STD)
    assert result.shape == (32, 3, 20, 17) and result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(result, seeded(0, augment, levels(), EACH, MEAN, STD))


def test_erasing_comes_after_normalisation_wherever_it_is_listed():
    erased = seeded(0, augment, levels(), [RandomErasing(p=1.0), ColorJitter(brightness=[0, 0])], MEAN, STD)
    black = -MEAN / STD
    is_mean = (erased == 0).all(dim=1)
    is_black = ((erased - black.view(3, 1, 1)).abs() < 1e-5).all(dim=1)
    assert (is_mean | is_black).all() and is_mean.flatten(1).any(dim=1).all()


def test_listed_by_short_names_in_yaml():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--augment", type=list[Augmentation])
    text = """[{class_path: RandomCrop, init_args: {padding: 8, padding_mode: reflect}},
        {class_path: RandomResizedCrop, init_args: {size: [8, 9], scale: [0.2, 1]}}, {class_path: RandomHorizontalFlip},
        {class_path: ColorJitter, init_args: {brightness: 0.1, hue: [-0.1, 0.2]}}, {class_path: TrivialAugmentWide},
        {class_path: RandomErasing, init_args: {p: 0.25}}]"""
    listed = parser.instantiate(parser.parse_args([f"--augment={text}"])).augment
    assert [type(augmentation).__name__ for augmentation in listed] == [
        "RandomCrop",
        "RandomResizedCrop",
        "RandomHorizontalFlip",
        "ColorJitter",
        "TrivialAugmentWide",
        "RandomErasing",
    ]
    assert augment(levels(), listed, MEAN, STD).shape == (32, 3, 8, 9)


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        (RandomCrop, {"padding": -1}, "RandomCrop.padding"),
        (RandomCrop, {"fill": 256}, "RandomCrop.fill"),
        (RandomCrop, {"size": 0}, "RandomCrop.size"),
        (RandomCrop, {"size": [8, 8, 8]}, "RandomCrop.size"),
        (RandomHorizontalFlip, {"p": 1.5}, "RandomHorizontalFlip.p"),
        (RandomResizedCrop, {"scale": (0.5, 1.5)}, "RandomResizedCrop.scale"),
        (RandomResizedCrop, {"ratio": (2, 1)}, "RandomResizedCrop.ratio"),
        (ColorJitter, {"brightness": -0.1}, "ColorJitter.brightness"),
        (ColorJitter, {"saturation": [1.2, 0.8]}, "ColorJitter.saturation"),
        (ColorJitter, {"hue": 0.6}, "ColorJitter.hue"),
        (RandomErasing, {"p": -0.1}, "RandomErasing.p"),
        (RandomErasing, {"scale": (0.1,)}, "RandomErasing.scale"),
        (TrivialAugmentWide, {"num_magnitude_bins": 1}, "TrivialAugmentWide.num_magnitude_bins"),
        (TrivialAugmentWide, {"fill": -1}, "TrivialAugmentWide.fill"),
    ],
)
def test_impossible_options_are_named(kind, options, named):
    with pytest.raises(UserError, match=named):
        kind(**options)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_augments_as_the_cpu_does_and_is_never_waited_for(augmentation, images):
    expected, on_gpu = seeded(6, augmentation, images), images.cuda()
    seeded(6, augmentation, on_gpu)  # the first call may wait: kernels are loaded, memory is pinned
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = seeded(6, augmentation, on_gpu)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    difference = (result.cpu().float() - expected.float()).abs()
    rounding = 1 if expected.dtype == torch.uint8 else 1e-5
    assert (difference > rounding).float().mean() < 1e-3  # pixels that lie between two, for nearest interpolation
