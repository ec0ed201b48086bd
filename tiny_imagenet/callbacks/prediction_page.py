"""predictions.html: a page of thumbnails and their answers, to look through what a network says of images."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from tiny_imagenet.data import DatasetInfo
from tiny_imagenet.data.batches.loader import IndexedImages
from tiny_imagenet.files import replace_text
from tiny_imagenet.report.text import class_names, printable

TEMPLATE = "predictions.html.jinja"
THUMBNAILS = 200
ANSWERS = 3  # of each image
READ = 50  # thumbnails that are read at once


def write_page(
    path: Path,
    images: IndexedImages,
    rows: np.ndarray,
    best: np.ndarray,
    info: DatasetInfo,
    unreadable: Mapping[str, str],
) -> None:
    """Write the page, with the first images and the pixels that the network saw.

    Args:
        rows: of the images that were predicted, int64 [N].
        best: label and probability of each image's best answers, [N, K, 2].
        unreadable: why other images could not be read, by name.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    names = class_names(dict(zip(info.class_ids, info.class_names, strict=True)))
    shown = [
        {
            "file": printable(images.names[row]),
            "source": source,
            "answers": [_answer(*answer, names, info) for answer in answers[:ANSWERS]],
        }
        for row, source, answers in zip(rows[:THUMBNAILS], _sources(images, rows[:THUMBNAILS]), best, strict=False)
    ]
    page = environment.get_template(TEMPLATE).render(
        images=shown,
        total=len(rows),
        unreadable=[(printable(name), printable(reason)) for name, reason in list(unreadable.items())[:THUMBNAILS]],
        all_unreadable=len(unreadable),
    )
    replace_text(path, page)


def _answer(label: float, probability: float, names: Mapping[str, str], info: DatasetInfo) -> dict[str, str]:
    return {"name": names[info.class_ids[int(label)]], "percent": f"{100 * probability:.1f}"}


def _sources(images: IndexedImages, rows: np.ndarray) -> Sequence[str]:
    """Each image as the address of a JPEG that is part of the page."""
    pixels = (
        image
        for start in range(0, len(rows), READ)
        for image in images[rows[start : start + READ]][0].permute(0, 2, 3, 1)
    )
    return [_source(Image.fromarray(image.numpy())) for image in pixels]


def _source(image: Image.Image) -> str:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
