"""The exported network beside Pillow, `decode_image` and the arithmetic of views."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from tests.helpers.networks import classifier
from tiny_imagenet.data.batches.pipeline import BatchPipeline
from tiny_imagenet.data.images.decode import decode_image
from tiny_imagenet.export.network import ExportedNetwork, central_square


def random_images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def squares(images: np.ndarray, size: int) -> np.ndarray:
    """Of images [B, H, W, 3]."""
    return central_square(torch.tensor(images).permute(0, 3, 1, 2), size).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("size", [1, 10, 32, 50])
def test_images_of_the_right_size_stay_as_they_are(size):
    images = random_images(2, size, size, 3)
    np.testing.assert_array_equal(squares(images, size), images)


# 33 to 32: many means end in exactly .5, and Pillow's rounded weights decide.
@pytest.mark.parametrize(
    "size",
    [(64, 64), (33, 33), (31, 47), (7, 300), (1, 1), (1, 9), (20, 21), (100, 333)]
    + [(47, 31), (300, 7), (9, 1), (21, 20), (333, 100), (64, 48), (65, 48), (33, 32), (56, 40), (57, 40)],
)
def test_other_images_are_decoded_ones(size, tmp_path):
    (image,) = images = random_images(1, *size, 3)
    Image.fromarray(image).save(tmp_path / "image.png")
    np.testing.assert_array_equal(squares(images, 32)[0], decode_image(tmp_path / "image.png", 32))


def test_the_resized_square_by_hand():
    # Two rows of four pixels, of which the middle two are the square; it shrinks to one pixel. The triangle over two
    # pixels reaches half a pixel beyond each side: the weights are 1/4, 3/4, 3/4, 1/4 along the row (sum 2) and equal
    # along the column. Rows: (8·1 + 20·3 + 40·3 + 4·1) / 8 = 24; (0 + 0 + 101·3 + 0) / 8 = 37.875, rounded to 38.
    rows = torch.tensor([[8, 20, 40, 4], [0, 0, 101, 0]], dtype=torch.uint8)
    assert central_square(rows.expand(1, 3, 2, 4), 1).flatten().tolist() == [31, 31, 31]


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def logits(model, pixels: np.ndarray) -> np.ndarray:
    """Of float pixels [B, S, S, 3] in levels."""
    normalised = (pixels / 255 - np.array(model.info.mean)) / np.array(model.info.std)
    with torch.no_grad():
        return model(torch.tensor(normalised, dtype=torch.float32).permute(0, 3, 1, 2)).numpy()


def test_probabilities_are_those_of_normalised_pixels_and_views():
    images = random_images(3, 32, 32, 3)
    shifted = [
        np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), "reflect")[:, at : at + 32, at : at + 32] for at in (0, 4)
    ]
    model = classifier(tta=True, tta_shift=2)
    views = [view for each in (images, *shifted) for view in (each, each[:, :, ::-1])]
    expected = softmax(sum(logits(model, view) for view in views) / 6)
    with torch.no_grad():
        found = ExportedNetwork(model, BatchPipeline(32, None, [], None))(torch.tensor(images).permute(0, 3, 1, 2))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_a_run_with_resize_crops_the_centre():
    (image,) = images = random_images(1, 60, 80, 3)
    model = classifier()
    large = np.asarray(ImageOps.fit(Image.fromarray(image), (40, 40), Image.Resampling.BILINEAR))
    expected = softmax(logits(model, large[None, 4:36, 4:36]))
    with torch.no_grad():
        found = ExportedNetwork(model, BatchPipeline(32, 40, [], None))(torch.tensor(images).permute(0, 3, 1, 2))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_the_classifier_that_is_given_stays_as_it_is():
    model = classifier().train()
    ExportedNetwork(model, BatchPipeline(32, None, [], None), half=True)
    assert model.training and {weight.dtype for weight in model.parameters()} == {torch.float32}
