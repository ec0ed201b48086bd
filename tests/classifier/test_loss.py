"""The weighted loss, against NumPy."""

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy, one_hot

from tiny_imagenet.classifier import ImageClassifier
from tiny_imagenet.classifier.loss import mean_cross_entropy
from tiny_imagenet.data import ImageFolderDataModule

GENERATOR = torch.Generator().manual_seed(0)
LOGITS, LABELS = torch.randn(6, 3, generator=GENERATOR), torch.tensor([0, 0, 0, 0, 1, 2])
WEIGHTS = torch.tensor([0.5, 2.0, 2.0])  # mean over LABELS: 1


def losses(logits, targets, smoothing):
    """The cross-entropy of each image with smoothed targets [B, C], in float64."""
    logits = logits.double().numpy()
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    smoothed = (1 - smoothing) * np.asarray(targets, float) + smoothing / logits.shape[1]
    return -(smoothed * logs).sum(axis=1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_each_image_counts_by_the_weight_of_its_class(smoothing):
    found = mean_cross_entropy(LOGITS, LABELS, smoothing, WEIGHTS)
    expected = WEIGHTS.numpy()[LABELS] * losses(LOGITS, one_hot(LABELS), smoothing)
    assert found.item() == pytest.approx(expected.mean(), rel=1e-6)


def test_weights_are_as_good_as_copies_of_the_images():
    copies = torch.tensor([0, 1, 2, 3, 4, 4, 4, 4, 5, 5, 5, 5])
    expected = cross_entropy(LOGITS[copies], LABELS[copies], label_smoothing=0.1)
    torch.testing.assert_close(mean_cross_entropy(LOGITS, LABELS, 0.1, WEIGHTS), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_mixed_image_counts_as_its_two_images_by_their_shares(smoothing):
    """One logit vector for both targets: the loss is linear in the target."""
    other, share = LABELS.flip(0), 0.3
    mixed = share * one_hot(LABELS).float() + (1 - share) * one_hot(other).float()
    found = mean_cross_entropy(LOGITS, mixed, smoothing, WEIGHTS)
    parts = [WEIGHTS.numpy()[labels] * losses(LOGITS, one_hot(labels), smoothing) for labels in (LABELS, other)]
    assert found.item() == pytest.approx((share * parts[0] + (1 - share) * parts[1]).mean(), rel=1e-6)


@pytest.mark.parametrize("targets", [LABELS, torch.full((6, 3), 1 / 3)], ids=["labels", "shares"])
def test_without_weights_it_is_torch_s_bit_for_bit(targets):
    assert mean_cross_entropy(LOGITS, targets, 0.1).equal(cross_entropy(LOGITS, targets, label_smoothing=0.1))


def test_the_halves_of_a_batch_average_to_the_whole():
    """As on two devices, whatever classes each has."""
    halves = [mean_cross_entropy(LOGITS[half], LABELS[half], 0.1, WEIGHTS) for half in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(sum(halves) / 2, mean_cross_entropy(LOGITS, LABELS, 0.1, WEIGHTS))


def test_only_the_training_loss_is_weighted(tmp_path):
    for name, number in (("cat", 40), ("dog", 8)):
        (tmp_path / name).mkdir()
        for image in range(number):
            Image.new("RGB", (32, 32), (image, 0, 0)).save(tmp_path / name / f"{image}.png")
    data = ImageFolderDataModule(str(tmp_path), image_size=32, batch_size=16, holdout=0.25, balance="loss")
    torch.manual_seed(0)
    model = ImageClassifier(width=0.125, stem="imagenet", optimizer=lambda groups: torch.optim.SGD(groups, lr=1e-4))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "accelerator": "cpu"}
    pl.Trainer(max_epochs=1, **quiet).fit(model, data)
    model.eval()
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 0, 0, 1])
    with torch.no_grad():
        logits = model(images)
        of_images = losses(logits, one_hot(labels, 2), 0)
        weighted = (np.array([0.6, 0.6, 0.6, 3]) * of_images).mean()  # 30 and 6 training images
        assert model.training_step((images, labels), 0).item() == pytest.approx(weighted, rel=1e-4)
        for step, metrics in ((model.validation_step, model.val_metrics), (model.test_step, model.test_metrics)):
            step((images, labels), 0)
            (found,) = (value.item() for name, value in metrics.compute().items() if name.endswith("loss"))
            assert found == pytest.approx(of_images.mean(), rel=1e-4)
