"""Test-time augmentation: the views of an image, mirrored and shifted by some pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.checkpoints import soften
from tests.helpers.tables import table
from tiny_imagenet.classifier import ImageClassifier


@pytest.mark.parametrize("mirrored, shift", [(True, 0), (False, 31), (True, 3)])
def test_tta_is_the_mean_of_the_logits_of_an_image_and_its_other_views(run, trained, tmp_path, mirrored, shift):
    best = trained / "checkpoints" / "best.ckpt"
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    soften(best)
    tta = [f"--model.tta={str(mirrored).lower()}", f"--model.tta_shift={shift}"]
    status, output = run("predict", f"--ckpt_path={best}", f"--data.images={tmp_path / 'a.png'}", *tta)
    assert status == 0, output
    views = [pixels]
    if shift:
        around = np.pad(pixels, [(shift, shift), (shift, shift), (0, 0)], mode="reflect")
        views += [around[:32, :32], around[-32:, -32:]]
    if mirrored:
        views += [view[:, ::-1] for view in views]
    model = ImageClassifier.load_from_checkpoint(best, weights_only=True).eval()
    images = (torch.from_numpy(np.stack(views)) / 255 - torch.tensor(model.info.mean)) / torch.tensor(model.info.std)
    with torch.no_grad():
        logits = model(images.permute(0, 3, 1, 2))
    expected = logits.mean(dim=0).softmax(dim=0)
    for left_out in range(len(logits)):
        other = logits[torch.arange(len(logits)) != left_out].mean(dim=0).softmax(dim=0)
        assert abs(expected.max() - other.max()) > 1e-4, "a missing view would be detected"
    (row,) = table(trained / "predictions.csv")
    assert float(row["p1"]) == pytest.approx(expected.max().item(), abs=1e-5)
    assert row["id1"] == model.info.class_ids[expected.argmax()]


def test_views_are_for_evaluation_and_their_mean_is_not_rounded_to_half_precision(trained):
    best = trained / "checkpoints" / "best.ckpt"
    model = ImageClassifier.load_from_checkpoint(best, tta=True, tta_shift=1).eval()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = model._logits(images)
        moved = [torch.from_numpy(np.pad(images, [(0, 0), (0, 0), *side], mode="reflect")) for side in (
            [(1, 0), (1, 0)], [(0, 1), (0, 1)])]  # fmt: skip
        views = [images, moved[0][:, :, :32, :32], moved[1][:, :, 1:, 1:]]
        logits = [model(view).double() for image in views for view in (image, image.flip(3))]
        assert len(model._logits(images[:0])) == 0, "a rank may have no images"
        training, alone = model.train()._logits(images), model(images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), sum(logits) / 6, rtol=1e-6, atol=1e-6)
    assert training.equal(alone)


@pytest.mark.parametrize(
    "shift, message",
    [
        (-1, "tta_shift must be a number of pixels from 0 up, not -1."),
        (32, "tta_shift is 32 pixels, and images have only 32"),
    ],
)
def test_a_shift_that_leaves_nothing_of_an_image_is_refused(run, small, shift, message):
    status, output = run("fit", *small, f"--model.tta_shift={shift}")
    assert status == 1 and message in output and "Traceback" not in output
