"""Images in the official layout, of another size than the official ones."""

import numpy as np
import pytest
from PIL import Image

from tiny_imagenet.data import TinyImageNetDataModule


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


def test_only_the_chosen_classes_are_packed_unless_all_are_there(archive, tmp_path):
    def make(**options):
        return TinyImageNetDataModule(str(tmp_path), str(archive), None, batch_size=8, **options)

    everything, some = make(), make(classes=2)
    some.setup("fit")
    some.setup("test")
    assert len(some.sets["test"]) == 24
    folder = tmp_path / "small" / "packed"
    (name,) = [path.name for path in folder.iterdir() if path.name.startswith("train")]
    assert name.startswith("train-2-classes-") and len(np.load(folder / name / "pixels.npy", mmap_mode="r")) == 64
    first = {split: (images.names, images[np.arange(len(images))][0]) for split, images in some.sets.items()}
    everything.setup("fit")
    again = make(classes=2)
    again.setup("fit")
    again.setup("test")
    assert again.sets["train"].cache == folder / "train", "all are packed now"
    for split, (names, pixels) in first.items():
        assert again.sets[split].names == names and pixels.equal(again.sets[split][np.arange(len(names))][0])
        assert again.sets[split].labels.tolist() == some.sets[split].labels.tolist()
    assert again.info == some.info
