"""What the data modules say about small data sets."""

import pytest
from PIL import Image

from tiny_imagenet.data import ImageFolderDataModule


@pytest.mark.parametrize(("batch_size", "told"), [(2, False), (16, False), (17, True)])
def test_few_steps_of_large_batches_are_told(tmp_path, caplog, batch_size, told):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(25):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / name / f"{number}.png")
    data = ImageFolderDataModule(str(tmp_path), image_size=8, batch_size=batch_size)
    with caplog.at_level("INFO"):
        data.setup("fit")
        data.train_dataloader()
    assert ("An epoch has only" in caplog.text) == told
    assert "5 of its 50 images are held out, for validation and test alike" in caplog.text
