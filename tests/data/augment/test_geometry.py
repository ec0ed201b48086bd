"""Crops, flips, affine transformations and erasing, against torchvision on the same parameters."""

import math

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from tiny_imagenet.data.augment import RandomCrop, RandomErasing, RandomHorizontalFlip, RandomResizedCrop
from tiny_imagenet.data.augment.boxes import draw_offset
from tiny_imagenet.data.augment.erasing import draw_erased_boxes, erase
from tiny_imagenet.data.augment.geometry import affine, crop, horizontal_flip, pad
from tiny_imagenet.data.augment.resized_crop import draw_crop_boxes, resized_crop
from tiny_imagenet.errors import UserError


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def noise(count: int, height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8).contiguous(
        memory_format=torch.channels_last
    )


def test_crop_takes_the_window():
    images = noise(40, 11, 14)
    top, left = torch.randint(0, 6, (40,)), torch.randint(0, 8, (40,))
    top[:2], left[:2] = torch.tensor([0, 5]), torch.tensor([0, 7])  # the extreme corners
    expected = [F.crop(image, y, x, 6, 7) for image, y, x in zip(images, top.tolist(), left.tolist(), strict=True)]
    assert torch.equal(crop(images, top, left, 6, 7), torch.stack(expected))


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_pad(mode):
    images = noise(3, 9, 12)
    expected = F.pad(images.float(), [4, 4, 4, 4], fill=17, padding_mode=mode).to(torch.uint8)
    assert torch.equal(pad(images, 4, 17, mode), expected)


def test_crop_offsets_are_uniform_and_independent():
    image = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4).expand(18_000, 3, 4, 4)
    crops = RandomCrop(padding=1, fill=255)(image)
    centre = crops[:, 0, 1, 1].long()  # the pixel at (1, 1) of the crop was at (top, left) of the image
    counts = torch.bincount(4 * (centre // 4) + centre % 4, minlength=12)[[0, 1, 2, 4, 5, 6, 8, 9, 10]]
    assert counts.sum() == 18_000 and (counts - 2000).abs().max() < 200  # 4.7 standard deviations


def test_crop_fills_floats_with_the_same_level():
    images = torch.ones(64, 3, 4, 4)
    assert RandomCrop(padding=1, fill=51)(images).unique().tolist() == [pytest.approx(0.2), 1.0]


def test_crop_of_a_smaller_size_without_padding():
    images = noise(200, 8, 9)
    crops = RandomCrop(6)(images)
    windows = images.unfold(2, 6, 1).unfold(3, 6, 1).permute(0, 2, 3, 1, 4, 5)  # [B, 3, 4, C, 6, 6]
    found = (windows == crops[:, None, None]).flatten(3).all(dim=3).flatten(1)
    assert (found.sum(dim=1) == 1).all() and found.any(dim=0).all()


def test_impossible_crops_are_explained():
    with pytest.raises(UserError, match=r"RandomCrop.size 9x9 is larger than the padded images, which are 8x9"):
        RandomCrop(9)(noise(2, 8, 9))
    with pytest.raises(UserError, match=r"more than 8 pixels a side, not 8x9"):
        RandomCrop(padding=8, padding_mode="reflect")(noise(2, 8, 9))


def test_flip():
    images, flip = noise(20, 5, 8), torch.rand(20) < 0.5
    expected = [F.horizontal_flip(image) if chosen else image for image, chosen in zip(images, flip, strict=True)]
    assert torch.equal(horizontal_flip(images, flip), torch.stack(expected))
    assert torch.equal(RandomHorizontalFlip(0.0)(images), images)
    assert torch.equal(RandomHorizontalFlip(1.0)(images), F.horizontal_flip(images))


def test_flip_has_its_probability():
    images = torch.tensor([0, 1], dtype=torch.uint8).expand(10_000, 3, 1, 2)
    flipped = RandomHorizontalFlip(0.2)(images)[:, 0, 0, 0].float().mean()
    assert abs(flipped - 0.2) < 0.02  # 5 standard deviations


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_affine(interpolation):
    images = noise(24, 15, 20)
    angles, shears, shifts = torch.rand(24) * 360 - 180, torch.rand(24) * 60 - 30, torch.randint(-9, 10, (24, 2))
    expected, matrices = [], []
    for image, angle, shear, shift in zip(images, angles.tolist(), shears.tolist(), shifts.tolist(), strict=True):
        moved, inside = (
            F.affine(part, angle, shift, 1.0, [shear, 0.0], v2.InterpolationMode(interpolation))
            for part in (image.float(), torch.ones(1, 15, 20))
        )
        expected.append(moved + 9 * (1 - inside))  # torchvision's own bilinear fill darkens the seam: it blends twice
        cos, sin, slant = math.cos(math.radians(angle)), math.sin(math.radians(angle)), math.tan(math.radians(shear))
        back = torch.tensor([[1, slant], [0, 1]]) @ torch.tensor([[cos, sin], [-sin, cos]])
        matrices.append(torch.cat([back, -back @ torch.tensor(shift, dtype=torch.float32)[:, None]], dim=1))
    result = affine(images, torch.stack(matrices), interpolation, fill=9)
    difference = (result - torch.stack(expected)).abs()
    assert result.dtype == torch.uint8
    assert (difference > 0.51).float().mean() < 1e-3  # places half-way between two pixels


@pytest.mark.parametrize("size", [(24, 32), (9, 40), (50, 12)])
def test_resized_crop(size):
    images = noise(32, 24, 32)
    boxes = draw_crop_boxes(32, 24, 32, (0.05, 1.0), (0.5, 2.0))
    expected = [
        F.resized_crop(image, *box, list(size), antialias=True)
        for image, box in zip(images / 255, boxes.T.tolist(), strict=True)
    ]
    torch.testing.assert_close(resized_crop(images / 255, *boxes, size), torch.stack(expected), atol=1e-5, rtol=0)
    of_levels = [
        F.resized_crop(image, *box, list(size), antialias=True)
        for image, box in zip(images, boxes.T.tolist(), strict=True)
    ]
    assert (resized_crop(images, *boxes, size).int() - torch.stack(of_levels).int()).abs().max() <= 1


def test_resized_crop_boxes_are_drawn_as_torchvision_draws_them():
    scale, ratio = (0.08, 1.0), (3 / 4, 4 / 3)
    ours = draw_crop_boxes(4000, 40, 60, scale, ratio).float()
    reference = v2.RandomResizedCrop(8, scale, ratio)
    image = torch.empty(3, 40, 60)
    theirs = torch.tensor([list(reference.make_params([image]).values())[:4] for _ in range(4000)]).float().T
    standard_error = theirs.std(dim=1) / math.sqrt(4000 / 2)
    assert ((ours.mean(dim=1) - theirs.mean(dim=1)).abs() < 4.5 * standard_error).all()
    assert torch.allclose(ours.std(dim=1), theirs.std(dim=1), rtol=0.07)
    top, left, height, width = ours
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= 40).all() and (left + width <= 60).all()


def test_offsets_of_boxes_are_uniform():
    offsets = draw_offset(torch.tensor([2.0]).expand(9000)).long()
    counts = torch.bincount(offsets, minlength=3)
    assert len(counts) == 3 and (counts - 3000).abs().max() < 200  # 4.5 standard deviations
    assert draw_offset(torch.zeros(4)).tolist() == [0, 0, 0, 0]


def test_resized_crop_takes_the_middle_where_no_box_fits():
    boxes = draw_crop_boxes(3, 10, 101, (1.0, 1.0), (1.0, 1.0))
    assert boxes.T.tolist() == [[0, 45, 10, 10]] * 3
    assert draw_crop_boxes(1, 101, 10, (1.0, 1.0), (1.0, 1.0)).T.tolist() == [[45, 0, 10, 10]]
    images = noise(4, 12, 12)
    assert torch.equal(RandomResizedCrop(scale=(1, 1), ratio=(1, 1))(images), images)


def test_erase():
    images, boxes = torch.randn(30, 3, 12, 17), draw_erased_boxes(30, 12, 17, 1.0, (0.02, 0.4), (0.3, 3.3))
    expected = [F.erase(image, *box, torch.tensor(0.3)) for image, box in zip(images, boxes.T.tolist(), strict=True)]
    assert torch.equal(erase(images, *boxes, 0.3), torch.stack(expected))
    assert torch.equal(RandomErasing(p=0.0)(images), images)


def test_erased_boxes_are_drawn_as_torchvision_draws_them():
    scale, ratio = (0.02, 0.33), (0.3, 3.3)
    ours = draw_erased_boxes(8000, 32, 40, 0.5, scale, ratio).float()
    ours = ours[:, ours[2] > 0]
    assert abs(ours.shape[1] - 4000) < 200  # 4.5 standard deviations
    reference, image = v2.RandomErasing(1.0, scale, ratio), torch.empty(3, 32, 40)
    drawn = [reference.make_params([image]) for _ in range(4000)]
    theirs = torch.tensor([[box[side] for side in "ijhw"] for box in drawn]).float().T
    standard_error = theirs.std(dim=1) / math.sqrt(4000 / 2)
    assert ((ours.mean(dim=1) - theirs.mean(dim=1)).abs() < 4.5 * standard_error).all()
    assert torch.allclose(ours.std(dim=1), theirs.std(dim=1), rtol=0.07)
