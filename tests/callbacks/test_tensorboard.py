"""What TensorBoard shows for a run."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers.tables import table


def test_tensorboard_gets_scalars_and_pictures(run, trained):
    _, output = run("test", f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}")
    assert "images were tested" not in output
    events = EventAccumulator(str(trained), size_guidance={"images": 0}).Reload()
    tags = events.Tags()
    assert {"train/loss", "train/top1", "val/loss", "val/top1", "val/top5", "images_per_s"} <= set(tags["scalars"])
    assert any(tag.startswith("lr-") for tag in tags["scalars"])
    assert {"train/images", "test/confusion"} <= set(tags["images"])
    assert [point.value for point in events.Scalars("val/top1")] == pytest.approx(
        [float(row["val/top1"]) for row in table(trained / "metrics.csv")]
    )
