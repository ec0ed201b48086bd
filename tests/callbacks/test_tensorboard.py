"""What TensorBoard shows for a run."""

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers.tables import table
from tiny_imagenet.callbacks.training_images import image_grid


def test_tensorboard_gets_scalars_and_pictures(run, trained):
    _, output = run("test", f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}")
    assert "images were tested" not in output
    events = EventAccumulator(str(trained), size_guidance={"images": 0}).Reload()
    tags = events.Tags()
    assert {"train/loss", "train/top1", "val/loss", "val/top1", "val/top5", "images_per_s"} <= set(tags["scalars"])
    assert any(tag.startswith("lr-") for tag in tags["scalars"])
    assert {"train/images", "test/confusion", "test/examples"} <= set(tags["images"])
    assert [point.value for point in events.Scalars("val/top1")] == pytest.approx(
        [float(row["val/top1"]) for row in table(trained / "metrics.csv")]
    )


def test_training_images_have_their_own_colours():
    pixels, mean, std = torch.randint(0, 256, (3, 3, 4, 4), dtype=torch.uint8), (0.5, 0.4, 0.3), (0.2, 0.3, 0.1)
    normalised = (pixels / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    grid = image_grid(normalised, mean, std)
    assert grid.dtype == torch.uint8
    for number, image in enumerate(pixels):  # two pixels between images
        assert grid[:, 2:6, 2 + 6 * number : 6 + 6 * number].equal(image)
