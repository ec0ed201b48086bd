"""A small folder of noisy JPEGs in three classes, and its expected pixels after packing."""

import numpy as np
from PIL import Image

from tiny_imagenet.data.images.packed import pack
from tiny_imagenet.data.images.scan import scan_classes

SIZE = 16
CLASSES = ("n01", "n02", "n03")


def write_jpegs(folder):
    """Write three classes of 30 JPEGs; every tenth is grey."""
    rng = np.random.default_rng(0)
    for class_id in CLASSES:
        (folder / class_id).mkdir(parents=True)
        for number in range(30):
            image = Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))
            image = image.convert("L") if number % 10 == 0 else image
            image.save(folder / class_id / f"{number}.JPEG", quality=95)
    return folder


def packed_of(folder, size=SIZE, **options):
    return pack(scan_classes(folder, CLASSES), size, folder.parent / "packed" / "train", **options)


def by_pillow(images):
    """All pixels [N, S, S, 3] of a set, decoded one by one."""
    return np.stack([np.asarray(Image.open(images.files.folder / name).convert("RGB")) for name in images.names])
