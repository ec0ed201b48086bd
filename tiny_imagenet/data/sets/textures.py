"""Generated textures in Tiny ImageNet's layout, which a small network can learn and a linear classifier cannot."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tiny_imagenet.errors import UserError
from tiny_imagenet.files import disk_errors, replacing

FOLDER = "tiny-imagenet-200"
BOX = "0\t0\t{0}\t{0}"  # The object fills the image.
PERIODS = {"": 12.0, "fine ": 6.0, "coarse ": 22.0}  # pixels per repetition, times 0.7 to 1.4
GREY_FRACTION = 0.02  # of the images, as grey JPEGs; 1.8 % of Tiny ImageNet's are
QUALITY = 90  # of the JPEGs

# They differ in kind, not only in direction, so that mirroring keeps the class. Each maps coordinates [S, S], which are
# in periods from a random origin, to -1..1.
TEXTURES = {
    "horizontal stripes": lambda x, y: _wave(y),
    "vertical stripes": lambda x, y: _wave(x),
    "diagonal stripes": lambda x, y: _wave((x + y) * np.sqrt(0.5)),
    "chequers": lambda x, y: _wave(x / 2) * _wave(y / 2),
    "rings": lambda x, y: _wave(np.hypot(x, y)),
    "rays": lambda x, y: _wave(np.arctan2(y, x) * 6 / np.pi),
    "dots": lambda x, y: np.sign(0.36 - np.hypot(_centred(x), _centred(y))),
    "crosses": lambda x, y: np.sign(0.11 - np.minimum(abs(_centred(x)), abs(_centred(y)))),
    "zigzags": lambda x, y: _wave(y + 2 * abs(_centred(x / 2))),
    "bricks": lambda x, y: np.sign(np.minimum(abs(_centred(y)), 2 * abs(_centred((x + np.round(y)) / 2))) - 0.12),
}
NAMES = [scale + texture for scale in PERIODS for texture in TEXTURES]


def write_synthetic_archive(
    path: Path,
    classes: int = 10,
    train_per_class: int = 200,
    val_per_class: int = 50,
    test_images: int = 100,
    image_size: int = 64,
    seed: int = 0,
) -> None:
    """Write a ZIP of generated JPEGs in the layout of the official Tiny ImageNet archive.

    A class is a texture. An image is a patchwork of it, each patch with its own position, scale, tilt and colours, and
    noise. Since either of a patch's two colours may be the lighter, every pixel has the same mean in every class, and a
    linear classifier on pixels does little better than chance. The same arguments give the same bytes.

    Args:
        path: file to write; it appears when it is complete.
        classes: number of classes, up to 30: ten textures, then the same ones finer, then coarser.
        train_per_class, val_per_class: images of each class.
        test_images: number of unlabelled images.
        image_size: side of the images in pixels.

    Raises:
        UserError: there are not that many classes, or the file can't be written.
    """
    if not 2 <= classes <= len(NAMES):
        raise UserError(f"Choose between 2 and {len(NAMES)} synthetic classes, not {classes}.")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside, zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive:
            for name, data in _members(classes, train_per_class, val_per_class, test_images, image_size, seed):
                # A fixed time, so that the bytes depend only on the arguments.
                archive.writestr(zipfile.ZipInfo(f"{FOLDER}/{name}", (2015, 1, 1, 0, 0, 0)), data)


def _members(classes: int, train: int, val: int, test: int, size: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each file of the archive."""
    ids = [f"n{90_000_000 + 1_234 * label:08d}" for label in range(classes)]
    order = np.random.default_rng(seed)
    # As in the official archive, neither file is sorted, and words.txt has more than the classes.
    yield "wnids.txt", "".join(f"{class_id}\n" for class_id in order.permutation(ids)).encode()
    words = [("n00001740", "entity"), *zip(ids, NAMES, strict=False)]
    yield "words.txt", "".join(f"{class_id}\t{name}\n" for class_id, name in words).encode()
    box = BOX.format(size - 1)
    for label, class_id in enumerate(ids):
        names = [f"{class_id}_{number}.JPEG" for number in range(train)]
        yield f"train/{class_id}/{class_id}_boxes.txt", "".join(f"{name}\t{box}\n" for name in names).encode()
        for number, name in enumerate(names):
            yield f"train/{class_id}/images/{name}", _jpeg(label, size, np.random.default_rng([seed, 0, label, number]))
    labels = order.permutation(np.repeat(np.arange(classes), val))
    lines = (f"val_{number}.JPEG\t{ids[label]}\t{box}\n" for number, label in enumerate(labels))
    yield "val/val_annotations.txt", "".join(lines).encode()
    for number, label in enumerate(labels):
        yield f"val/images/val_{number}.JPEG", _jpeg(label, size, np.random.default_rng([seed, 1, number]))
    for number, label in enumerate(order.integers(classes, size=test)):
        yield f"test/images/test_{number}.JPEG", _jpeg(label, size, np.random.default_rng([seed, 2, number]))


def _jpeg(label: int, size: int, rng: np.random.Generator) -> bytes:
    image = Image.fromarray(_pixels(label, size, rng))
    if rng.random() < GREY_FRACTION:
        image = image.convert("L")
    data = io.BytesIO()
    image.save(data, "JPEG", quality=QUALITY)
    return data.getvalue()


def _pixels(label: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random image of a class, uint8 [size, size, 3]."""
    patches = rng.integers(4, 8)
    y, x = np.mgrid[:size, :size].astype(float)
    centres = rng.uniform(0, size, (2, patches))
    distances = (y - centres[0, :, None, None]) ** 2 + (x - centres[1, :, None, None]) ** 2
    patch = distances.argmin(0)  # [S, S], the nearest centre's
    period = (list(PERIODS.values())[label // len(TEXTURES)] * rng.uniform(0.7, 1.4, patches))[patch]
    tilt = np.deg2rad(rng.uniform(-15, 15, patches))[patch]
    mirrored = rng.choice([-1, 1], patches)[patch]
    # Coordinates from an origin near the patch's centre.
    y, x = np.stack([y, x]) - (centres + rng.uniform(-12, 12, (2, patches)))[:, patch]
    along, across = x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt)
    texture = list(TEXTURES.values())[label % len(TEXTURES)](mirrored * along / period, across / period)
    # The texture moves between two colours that differ by at least 60 in some channel.
    colour = rng.normal(size=(patches, 3))
    colour *= rng.uniform(30, 80, (patches, 1)) / abs(colour).max(1, keepdims=True)
    pixels = rng.uniform(80, 176, (patches, 3))[patch] + texture[..., None] * colour[patch]
    return (pixels + rng.normal(0, 18, pixels.shape)).clip(0, 255).astype(np.uint8)


def _wave(distance: np.ndarray) -> np.ndarray:
    """A wave in -1..1 with a period of 1."""
    return np.sin(2 * np.pi * distance)


def _centred(distance: np.ndarray) -> np.ndarray:
    """The signed distance to the nearest whole number, -0.5..0.5."""
    return distance - np.round(distance)
