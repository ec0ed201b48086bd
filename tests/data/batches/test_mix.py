"""Mixup and cutmix."""

import pytest
import torch

from tiny_imagenet.data.batches.mix import Mix
from tiny_imagenet.errors import UserError


@pytest.mark.parametrize("mix", [Mix(mixup=0.4, cutmix=0.0), Mix(mixup=0.0, cutmix=1.0)])
def test_mixed_targets_are_shares_of_what_the_images_are_made_of(mix):
    # Images of one grey level per class, so that the share of a class can be read off the mixed pixels.
    labels = torch.arange(8)
    images = labels.float()[:, None, None, None].expand(8, 3, 32, 32).contiguous()
    torch.manual_seed(0)
    mixed, targets = mix(images, labels, num_classes=8)
    assert targets.shape == (8, 8)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(8))
    torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), targets @ labels.float(), rtol=1e-4, atol=1e-4)
    assert (targets.max(dim=1).values < 1).any()


def test_mix_has_its_probability():
    mix, images, labels = Mix(probability=0.25), torch.rand(4, 3, 8, 8), torch.arange(4)
    torch.manual_seed(0)
    mixed = sum(mix(images, labels, 4)[1].ndim == 2 for _ in range(400))
    assert 65 <= mixed <= 135  # 100, and four standard deviations


@pytest.mark.parametrize("options", [{"mixup": -1}, {"mixup": 0, "cutmix": 0}, {"probability": 1.5}])
def test_mix_refuses_nonsense(options):
    with pytest.raises(UserError, match="mix"):
        Mix(**options)
