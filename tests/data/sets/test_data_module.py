"""The data modules: splits, classes, pipelines and batches, on the small archive."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from tests.helpers.archives import in_process
from tiny_imagenet.data import DatasetInfo, TinyImageNetDataModule
from tiny_imagenet.data.augment import RandomHorizontalFlip
from tiny_imagenet.data.batches.loader import Batch
from tiny_imagenet.data.batches.mix import Mix
from tiny_imagenet.data.batches.pipeline import BatchPipeline
from tiny_imagenet.data.images.packed import PackedImages
from tiny_imagenet.errors import UserError

MEAN, STD = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.1, 0.2, 0.3])


@pytest.fixture
def module(archive, data_root):
    def make(**options) -> TinyImageNetDataModule:
        defaults = {"root": str(data_root), "archive": str(archive), "md5": None, "batch_size": 16}
        return TinyImageNetDataModule(**(defaults | options))

    return make


def test_holdout_divides_the_training_images_and_tests_on_the_official_validation_images(module):
    data = module(holdout=0.25)
    data.setup("fit")
    data.setup("test")
    assert (len(data.sets["train"]), len(data.sets["val"]), len(data.sets["test"])) == (96, 32, 48)
    assert np.bincount(data.sets["val"].labels).tolist() == [8, 8, 8, 8]
    assert not set(data.sets["train"].names) & set(data.sets["val"].names)
    assert all("val_" in name for name in data.sets["test"].names)


def test_holdout_0_trains_on_all_and_says_what_it_validates_on(module, caplog):
    data = module(holdout=0)
    with caplog.at_level("INFO"):
        data.setup("fit")
    data.setup("test")
    assert len(data.sets["train"]) == 128
    assert data.sets["val"].names == data.sets["test"].names
    assert "training on all 128" in caplog.text


def test_classes_are_sorted_and_named_and_a_subset_has_labels_from_0(module):
    everything = module()
    everything.setup("fit")
    ids = everything.classes.ids
    assert list(ids) == sorted(ids)
    data = module(classes=[ids[3], ids[1]])
    data.setup("fit")
    assert data.classes.ids == (ids[1], ids[3])
    assert sorted(set(data.sets["train"].labels)) == [0, 1]
    for name, label in zip(data.sets["train"].names, data.sets["train"].labels, strict=True):
        assert name.startswith(data.classes.ids[label])
    assert data.info.class_names == (everything.classes.names[1], everything.classes.names[3])


@pytest.mark.parametrize(("image_size", "packed"), [(32, 64), (64, 64), (80, 80), (128, 128)])
def test_larger_images_in_the_official_layout_keep_what_the_network_sees_of_them(tmp_path, image_size, packed):
    lines = []
    for number, class_id in enumerate(("n01", "n02")):
        for folder, name in ((f"train/{class_id}/images", "train"), ("val/images", f"val_{number}")):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (120, 96), (200 * number, 0, 0)).save(tmp_path / folder / f"{name}.JPEG")
        lines.append(f"val_{number}.JPEG\t{class_id}\t0\t0\t9\t9\n")
    (tmp_path / "wnids.txt").write_text("n01\nn02\n")
    (tmp_path / "val" / "val_annotations.txt").write_text("".join(lines))
    data = TinyImageNetDataModule(str(tmp_path), None, None, image_size=image_size, holdout=0, batch_size=2)
    data.setup("fit")
    for images in data.sets.values():
        assert images[np.arange(2)][0].shape == (2, 3, packed, packed)


def test_statistics_are_those_of_the_training_pixels(module):
    data = module()
    data.setup("fit")
    pixels = data.packed("train").images.astype(np.float64) / 255
    np.testing.assert_allclose(data.info.mean, pixels.mean(axis=(0, 1, 2)), atol=1e-9)
    np.testing.assert_allclose(data.info.std, pixels.std(axis=(0, 1, 2)), atol=1e-9)
    assert module(normalize="imagenet").info.mean == (0.485, 0.456, 0.406)


def test_a_training_reads_its_images_ahead(module, monkeypatch):
    data, read = module(), []
    data.setup("fit")
    monkeypatch.setattr(PackedImages, "read_ahead", lambda images: read.append(images))
    data.val_dataloader()
    data.train_dataloader()
    assert read == [data.sets["train"]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_epoch_s_batches_hold_each_image_once_with_its_label(module, num_workers):
    data = module(num_workers=num_workers)
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert sum(len(batch.targets) for batch in batches) == len(data.sets["train"])
    assert len({batch.seed for batch in batches}) == len(batches)
    first = batches[0]
    assert first.images.dtype == torch.uint8
    assert first.images.is_contiguous(memory_format=torch.channels_last)
    rows = {data.sets["train"][np.array([row])][0].numpy().tobytes(): row for row in range(len(data.sets["train"]))}
    found = [rows[image[None].contiguous().numpy().tobytes()] for batch in batches for image in batch.images]
    assert sorted(found) == list(range(len(rows)))
    labels = torch.cat([batch.targets for batch in batches]).tolist()
    assert labels == data.sets["train"].labels[found].tolist()


def test_workers_end_with_a_process_that_did_not_see_to_it(module):
    """They heed no SIGTERM but that of the process that they work for."""
    data = module(num_workers=2)
    data.setup("fit")

    def work():
        work.batches = iter(data.train_dataloader())  # and so still there when the process exits
        next(work.batches)

    process = in_process(work)
    process.join(60)
    try:
        assert process.exitcode == 0
    finally:
        process.kill()


def test_a_batch_larger_than_the_data_is_an_error(module):
    data = module(batch_size=1000)
    data.setup("fit")
    with pytest.raises(UserError, match="batch_size 1000 is larger than the 115"):
        data.train_dataloader()


def test_single_images_that_devices_do_not_divide_are_an_error(module, monkeypatch):
    data = module(batch_size=1)
    data.setup("fit")
    monkeypatch.setattr(TinyImageNetDataModule, "_ranks", (0, 2))
    with pytest.raises(UserError, match="115 images cannot be dealt out one by one to 2 devices"):
        data.train_dataloader()
    monkeypatch.setattr(TinyImageNetDataModule, "_ranks", (0, 5))
    assert [len(batch.targets) for batch in data.train_dataloader()] == [1] * 23


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"image_size": 0}, {"image_size": 64, "resize": 32}])
def test_impossible_options(module, options):
    with pytest.raises(UserError, match=next(reversed(options))):
        module(**options)


def test_a_network_of_other_classes_is_refused(module):
    data = module(classes=2)
    with pytest.raises(UserError, match="knows 2 classes"):
        data.adopt(DatasetInfo(("a", "b"), ("ant", "bee"), 64, (0, 0, 0), (1, 1, 1)))


def batch(size=16, count=6):
    images = torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    return Batch(images, torch.arange(count) % 4, seed=7)


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
    given = batch()
    expected = F.normalize(F.resize(given.images.flip(3), [8, 8], antialias=True) / 255, MEAN.tolist(), STD.tolist())
    torch.testing.assert_close(pipeline.train(given, MEAN, STD, 4, 0, 8)[0], expected)
    with pytest.raises(UserError, match="max_epochs"):
        pipeline.train(given, MEAN, STD, 4, 0, -1)


@pytest.mark.parametrize(("last", "told"), [(24, True), (32, False)])
def test_progressive_that_ends_with_other_images_than_those_of_validation_is_told(module, caplog, last, told):
    module(progressive={16: 0, last: 0.5}, image_size=32)
    assert (f"set --data.image_size {last}" in caplog.text) == told


@pytest.mark.parametrize(
    ("progressive", "told"), [(None, False), ({32: 0}, False), ({32: 0, 16: 0.75}, False), ({16: 0, 32: 0.75}, True)]
)
def test_when_validation_says_something_is_told(module, caplog, progressive, told):
    data = module(progressive=progressive, image_size=32)
    with caplog.at_level("INFO"):
        data.setup("fit")
        data.train_dataloader()
    assert ("for the first 75% of the epochs" in caplog.text) == told


@pytest.mark.parametrize("progressive", [{}, {32: 0.5}, {32: 0, 64: 1}, {32: 0, 64: -0.1}, {0: 0}])
def test_progressive_refuses_nonsense(module, progressive):
    with pytest.raises(UserError, match="progressive gives a share"):
        module(progressive=progressive)


@pytest.mark.parametrize("options", [{"mixup": -1}, {"mixup": 0, "cutmix": 0}, {"probability": 1.5}])
def test_mix_refuses_nonsense(options):
    with pytest.raises(UserError, match="mix"):
        Mix(**options)
