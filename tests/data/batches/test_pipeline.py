"""From a batch of pixels to what the network sees, against torchvision."""

import pytest
import torch
from torchvision.transforms.v2 import functional as F

from tiny_imagenet.data.augment import RandomHorizontalFlip
from tiny_imagenet.data.batches.loader import Batch
from tiny_imagenet.data.batches.mix import Mix
from tiny_imagenet.data.batches.pipeline import BatchPipeline
from tiny_imagenet.errors import UserError

MEAN, STD = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.1, 0.2, 0.3])


def batch(size=16, count=6):
    images = torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    return Batch(images, torch.arange(count) % 4, torch.arange(count), seed=7)


def test_evaluation_only_normalises():
    given = batch()
    images, targets = BatchPipeline(16, None, [RandomHorizontalFlip(p=1.0)], Mix()).evaluate(given, MEAN, STD)
    expected = F.normalize(given.images / 255, MEAN.tolist(), STD.tolist())
    torch.testing.assert_close(images, expected)
    assert targets is given.targets


@pytest.mark.parametrize("side", [8, 32])
def test_another_image_size_is_resampled_as_torchvision_does(side):
    given = batch()
    images, _ = BatchPipeline(side, None, [], None).evaluate(given, MEAN, STD)
    expected = F.normalize(F.resize(given.images, [side, side], antialias=True) / 255, MEAN.tolist(), STD.tolist())
    torch.testing.assert_close(images, expected)


def test_resize_then_crop_the_centre_in_evaluation_and_anywhere_in_training():
    given = batch()
    pipeline = BatchPipeline(16, 20, [], None)
    large = F.normalize(F.resize(given.images, [20, 20], antialias=True) / 255, MEAN.tolist(), STD.tolist())
    images, _ = pipeline.evaluate(given, MEAN, STD)
    torch.testing.assert_close(images, large[:, :, 2:18, 2:18])
    images, _ = pipeline.train(given, MEAN, STD, num_classes=4, epoch=0, epochs=None)
    crops = large.unfold(2, 16, 1).unfold(3, 16, 1)  # [B, 3, 5, 5, 16, 16]
    for image, candidates in zip(images, crops, strict=True):
        distances = (candidates - image[:, None, None]).abs().amax(dim=(0, 3, 4))
        assert distances.min() < 1e-5, "each image is one of its crops"


def test_training_depends_on_the_batch_s_seed_alone():
    given = batch()
    pipeline = BatchPipeline(16, None, [RandomHorizontalFlip()], Mix(mixup=0.4, cutmix=1.0))

    def train(seed, before):
        torch.manual_seed(before)
        images, targets = pipeline.train(given._replace(seed=seed), MEAN, STD, num_classes=4, epoch=0, epochs=None)
        return images, targets, torch.rand(3)

    for one, other in zip(train(1, before=5), train(1, before=6), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert not torch.equal(train(1, 5)[0], train(2, 5)[0])


def test_mix_is_left_out_by_probability_and_in_the_last_epochs():
    given = batch()

    def mixed(mix, epoch, epochs=10):
        return BatchPipeline(16, None, [], mix).train(given, MEAN, STD, 4, epoch, epochs)[1].ndim == 2

    assert not mixed(Mix(probability=0.0), epoch=0)
    assert [mixed(Mix(epochs_without=2), epoch) for epoch in (0, 7, 8, 9)] == [True, True, False, False]
    assert mixed(Mix(epochs_without=2), epoch=9, epochs=-1), "a training without an end has no last epochs"


def test_progressive_sizes_follow_the_share_of_the_epochs():
    pipeline = BatchPipeline(16, None, [RandomHorizontalFlip(p=1.0)], None, {16: 0.75, 8: 0, 12: 0.3})
    sides = [pipeline.train(batch(), MEAN, STD, 4, epoch, 8)[0].shape[-1] for epoch in range(8)]
    assert sides == [8, 8, 8, 12, 12, 12, 16, 16], "0.3 and 0.75 of 8 epochs are 2.4 and 6"
    assert pipeline.evaluate(batch(), MEAN, STD)[0].shape[-1] == 16
    assert [pipeline.val_size(epoch, 8) for epoch in range(8)] == sides
    given = batch()
    expected = F.normalize(F.resize(given.images.flip(3), [8, 8], antialias=True) / 255, MEAN.tolist(), STD.tolist())
    torch.testing.assert_close(pipeline.train(given, MEAN, STD, 4, 0, 8)[0], expected)
    expected = F.normalize(F.resize(given.images, [8, 8], antialias=True) / 255, MEAN.tolist(), STD.tolist())
    torch.testing.assert_close(pipeline.evaluate(given, MEAN, STD, 8)[0], expected)
    with pytest.raises(UserError, match="max_epochs"):
        pipeline.train(given, MEAN, STD, 4, 0, -1)


@pytest.mark.parametrize(
    ("progressive", "epoch", "pixels"),
    [
        ({8: 0, 16: 0.5}, 0, 0),
        ({8: 0, 16: 0.5}, 1.5, 64 * 1.5),
        ({8: 0, 16: 0.5}, 2.25, 64 * 2 + 256 * 0.25),
        ({16: 0.5, 8: 0, 12: 0.3}, 4, 64 * 2 + 256 * 2),  # 12 pixels after 1.2 epochs, so in none of 4
        ({8: 0, 16: 0.9}, 4, 64 * 4),
        (None, 3.5, 3.5),
    ],
)
def test_pixels_until_an_epoch_are_those_of_the_epochs_before_it(progressive, epoch, pixels):
    assert BatchPipeline(16, None, [], None, progressive).pixels_until(epoch, 4) == pytest.approx(pixels)


def test_after_the_last_change_validation_images_have_the_size_of_those_of_the_test():
    pipeline = BatchPipeline(16, None, [], None, {8: 0, 24: 0.5})
    assert [pipeline.val_size(epoch, 4) for epoch in range(4)] == [8, 8, 16, 16]
    assert BatchPipeline(16, None, [], None).val_size(0, -1) == 16


@pytest.mark.parametrize(("last", "told"), [(24, True), (32, False)])
def test_progressive_that_ends_with_other_images_than_those_of_validation_is_told(module, caplog, last, told):
    module(progressive={16: 0, last: 0.5}, image_size=32)
    assert (f"set --data.image_size {last}" in caplog.text) == told


@pytest.mark.parametrize("progressive", [{}, {32: 0.5}, {32: 0, 64: 1}, {32: 0, 64: -0.1}, {0: 0}])
def test_progressive_refuses_nonsense(module, progressive):
    with pytest.raises(UserError, match="progressive must give each side"):
        module(progressive=progressive)
