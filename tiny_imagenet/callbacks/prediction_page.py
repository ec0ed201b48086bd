"""predictions.html: a page of thumbnails and their answers, to look through what a network says of images."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from tiny_imagenet.data import DatasetInfo
from tiny_imagenet.files import replace_text
from tiny_imagenet.report.text import class_names, printable

TEMPLATE = "predictions.html.jinja"
ANSWERS = 3  # of each image
REASONS = 200  # of images that could not be read, at most


def write_page(
    path: Path,
    names: Sequence[str],
    thumbnails: np.ndarray,
    best: np.ndarray,
    info: DatasetInfo,
    unreadable: Mapping[str, str],
) -> None:
    """Write the page, with the first images and the pixels that the network saw.

    Args:
        names: of the first images, [n].
        thumbnails: their pixels, uint8 [n, H, W, 3].
        best: label and probability of the best answers for each of all images, [N, K, 2], n ≤ N.
        unreadable: why other images could not be read, by name.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    classes = class_names(dict(zip(info.class_ids, info.class_names, strict=True)))
    shown = [
        {
            "file": printable(name),
            "source": _source(Image.fromarray(pixels)),
            "answers": [_answer(*answer, classes, info) for answer in answers[:ANSWERS]],
        }
        for name, pixels, answers in zip(names, thumbnails, best, strict=False)
    ]
    page = environment.get_template(TEMPLATE).render(
        images=shown,
        total=len(best),
        unreadable=[(printable(name), printable(reason)) for name, reason in list(unreadable.items())[:REASONS]],
        all_unreadable=len(unreadable),
    )
    replace_text(path, page)


def _answer(label: float, probability: float, classes: Mapping[str, str], info: DatasetInfo) -> dict[str, str]:
    return {"name": classes[info.class_ids[int(label)]], "percent": f"{100 * probability:.1f}"}


def _source(image: Image.Image) -> str:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
