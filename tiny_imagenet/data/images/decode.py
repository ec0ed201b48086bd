"""Decodes one image file to RGB pixels."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import PIL
from PIL import Image, ImageOps, UnidentifiedImageError, features

from tiny_imagenet.data.images.content import format_of, jpeg_size
from tiny_imagenet.data.images.levels import in_8_bits, is_deep, raw_mode
from tiny_imagenet.data.images.limits import (
    USUAL_TIME,
    memory_limit,
    require_few_scans,
    require_memory,
    time_limit,
    without_pillows_limit,
)
from tiny_imagenet.data.images.png import without_large_texts
from tiny_imagenet.errors import UserError

# The formats of image data sets. Pillow reads others, some of which (EPS) run other programs.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
# Those that need a library, and how to get it. They are tried if a file is none of the above.
OPTIONAL = {"AVIF": "a Pillow with AVIF: pip install --upgrade pillow", "HEIF": "pip install pillow-heif"}
LARGE = 89_478_485  # pixels; larger images are reduced in strips, since copies of them fill the memory
STRIP = 256  # rows
SCALES = {"L;2": 85, "L;4": 17}  # of Pillow's, from grey of 2 and 4 bits to 8
DECODER = 2  # to be raised when the pixels of some files change; see `was_decoded_otherwise`
# What decides the pixels of an image; Pillow 13 resizes some by one level otherwise than Pillow 12.
DECODED_BY = f"decoder {DECODER}, Pillow {PIL.__version__.partition('.')[0]}"
Source = Path | str | BinaryIO
Result = TypeVar("Result")


class UndecodableError(UserError):
    """A file can't be decoded, for a `reason`; `advice` says what to do.

    `passing`: the reason is the system's, such as missing rights or memory, and not in the file.
    """

    def __init__(self, path: Path | str, reason: str, advice: str, passing: bool = False) -> None:
        super().__init__(path, reason, advice, passing)
        self.path, self.reason, self.advice, self.passing = path, reason, advice, passing

    def __str__(self) -> str:
        return f"{self.path} can't be decoded: {self.reason}. {self.advice}"


def decode_image(path: Path | str, size: int) -> np.ndarray:
    """Decode an image file to uint8 [size, size, 3], RGB in 0..255.

    An image of this size is returned exactly as Pillow decodes it. Others are cropped to the central square and resized
    (bilinear, antialiased), which equals resizing the shorter side and then cropping the centre. A JPEG whose shorter
    side is at least four times `size` is decoded at a half, a quarter or an eighth of its size, at least twice `size`.
    The EXIF orientation is applied; transparent pixels are laid over white; grey becomes three equal channels; more
    than 8 bits a channel are scaled to 8, see `levels`; of an animation, the first frame is used.

    Raises:
        UserError: the file can't be decoded whole, or its pixels take more memory than `limits` allows.
    """
    return decode_and_tell(path, size)[0]


def decode_and_tell(path: Path | str, size: int) -> tuple[np.ndarray, str]:
    """As `decode_image`, and which range the levels were taken to have; empty if that is certain."""
    try:
        with without_pillows_limit:
            return _with_any_texts(lambda source: _decoded(source, path, size), path)
    except UserError:
        raise
    # Pillow's decoders raise many kinds on broken files: OSError, SyntaxError, struct.error, IndexError and more.
    except Exception as error:
        broken_link = os.path.islink(path) and not os.path.exists(path)
        passing = isinstance(error, MemoryError) or (getattr(error, "errno", None) is not None and not broken_link)
        raise UndecodableError(path, *_why(error, path, broken_link), passing) from None


def shorter_side(path: Path | str) -> int:
    """The shorter side of an image in pixels, without decoding it; 0 if that fails, which `decode_image` reports."""
    try:
        with without_pillows_limit:
            return _with_any_texts(lambda source: min(_opened(source, path).size), path)
    except Exception:
        return 0


def was_decoded_otherwise(path: Path | str, size: int) -> bool:
    """Whether packs of DECODER 1 have other pixels of an image file than `decode_image` gives; reads its header only.

    They have the upper 8 bits of 16-bit colours and 16-bit grey without regard to its range, and large JPEGs resized
    from their full size.
    """
    try:
        if sides := jpeg_size(path):
            return min(sides) >= 4 * size
        with without_pillows_limit, _opened(path, path) as image:
            photograph = image.format in ("JPEG", "MPO") and min(image.size) >= 4 * size
            return photograph or is_deep(image) or _has_scaled_transparency(image)
    except Exception:
        return False  # then it is in no pack


def abilities() -> str:
    """What decides which files can be decoded here, besides the files."""
    kinds, seconds = [kind for kind in OPTIONAL if _is_readable(kind)], time_limit()
    return f"{' '.join(kinds)}, {memory_limit()}" + f", {seconds}" * (seconds != USUAL_TIME)


def _with_any_texts(read: Callable[[Source], Result], path: Path | str) -> Result:
    """Read a file, or, where Pillow refuses its large texts or colour profile, a copy without them."""
    try:
        return read(path)
    except ValueError:
        if (copy := without_large_texts(path)) is None:
            raise
    return read(copy)


def _decoded(source: Source, path: Path | str, size: int) -> tuple[np.ndarray, str]:
    guess = ""
    with _opened(source, path) as image:
        whole = image.size
        if image.format in ("JPEG", "MPO"):
            if image.info.get("progressive"):
                require_few_scans(path)
            if min(whole) >= 4 * size:
                image.draft(None, (2 * size, 2 * size))
        deep = is_deep(image)
        require_memory(image, deep, math.prod(whole))
        if image.size != whole:
            return np.asarray(_square_of_fraction(image, whole, size)), guess
        if deep:
            image, guess = in_8_bits(image, path, lambda: _opened(source, path))
        else:
            _scale_transparency(image)
            ImageOps.exif_transpose(image, in_place=True)
        rgb = _rgb(image) if math.prod(image.size) <= LARGE else _reduced(image, size)
        if rgb.size != (size, size):
            rgb = ImageOps.fit(rgb, (size, size), Image.Resampling.BILINEAR)
        return np.asarray(rgb), guess


def _square_of_fraction(image: Image.Image, whole: tuple[int, int], size: int) -> Image.Image:
    """The central square [size, size] in RGB of a JPEG that is decoded at a fraction of its whole size."""
    # The last row and column may reach beyond the image.
    scale = next(
        scale for scale in (2, 4, 8) if all(-(-of // scale) == at for of, at in zip(whole, image.size, strict=True))
    )
    side = min(whole)
    left, top = ((length - side) / 2 for length in whole)
    box = tuple(edge / scale for edge in (left, top, left + side, top + side))
    rgb = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box)
    ImageOps.exif_transpose(rgb, in_place=True)
    return rgb


def _opened(source: Source, path: Path | str) -> Image.Image:
    if source is not path:
        source.seek(0)
    try:
        return Image.open(source, formats=FORMATS)
    except UnidentifiedImageError:
        if (kind := format_of(path)) in OPTIONAL and _is_readable(kind):
            return Image.open(source, formats=[kind])
        raise


def _is_readable(kind: str) -> bool:
    """Whether the library for a format of OPTIONAL is there; imports it if need be."""
    if kind == "AVIF":
        return features.check("avif")
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _scale_transparency(image: Image.Image) -> None:
    """Pillow scales PNG's grey of 2 or 4 bits to 8, but not the level that is transparent (tRNS)."""
    if _has_scaled_transparency(image):
        image.info["transparency"] *= SCALES[raw_mode(image)]


def _has_scaled_transparency(image: Image.Image) -> bool:
    return image.format == "PNG" and raw_mode(image) in SCALES and isinstance(image.info.get("transparency"), int)


def _rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _reduced(image: Image.Image, size: int) -> Image.Image:
    """The central square of a large image in RGB, averaged over blocks of pixels to at least twice `size`."""
    block = max(1, min(image.size) // (2 * size))
    side = min(image.size) // block * block
    left, top = ((length - side) // 2 for length in image.size)
    rgb = Image.new("RGB", (side // block, side // block))
    rows = block * max(1, STRIP // block)
    for y in range(0, side, rows):
        strip = image.crop((left, top + y, left + side, top + min(y + rows, side)))
        reduced = (side // block, strip.height // block)
        rgb.paste(_rgb(strip).resize(reduced, Image.Resampling.BOX), (0, y // block))
    return rgb


def _why(error: Exception, path: Path | str, broken_link: bool) -> tuple[str, str]:
    """Why a file can't be decoded, and what to do."""
    replace = "Replace or remove the file; if it came from an archive, delete the extracted folder and start again."
    if broken_link:
        return "it is a broken link", replace
    if not isinstance(error, UnidentifiedImageError):
        return getattr(error, "strerror", None) or str(error) or type(error).__name__, replace
    kind = format_of(path)
    if kind is None:
        return f"its content is not {', '.join([*FORMATS, 'AVIF'])} or HEIF", replace
    if kind not in OPTIONAL or _is_readable(kind):
        return f"its content is {kind}, but damaged or of a rare kind", replace
    return f"its content is {kind}, which needs {OPTIONAL[kind]}", "Install it, or convert the file to JPEG."
