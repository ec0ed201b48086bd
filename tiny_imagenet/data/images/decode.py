"""Decodes one image file to RGB pixels."""

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tiny_imagenet.errors import UserError

# The formats of image data sets. Pillow reads others, some of which (EPS) run other programs.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
# TIFF's tags of a tile's width and length. A tile is decoded whole, even if it is larger than the image.
TILE = (322, 323)


def decode_image(path: Path | str | BinaryIO, size: int) -> np.ndarray:
    """Decode an image file to uint8 [size, size, 3], RGB in 0..255.

    An image of this size is returned exactly as Pillow decodes it. Others are cropped to the central square and resized
    (bilinear, antialiased), which equals resizing the shorter side and then cropping the centre. The EXIF orientation
    is applied; transparent pixels are laid over white; grey becomes three equal channels, 16-bit grey is rounded to 8
    bits; of an animation, the first frame is used.

    Raises:
        UserError: the file can't be decoded whole, or has more pixels than Pillow's limit against decompression bombs.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > Image.MAX_IMAGE_PIXELS:
                raise ValueError(f"{width}×{height} pixels are more than {Image.MAX_IMAGE_PIXELS:,}")
            if image.format == "TIFF" and math.prod(image.tag_v2.get(tag, 1) for tag in TILE) > Image.MAX_IMAGE_PIXELS:
                raise ValueError(f"its tiles have more than {Image.MAX_IMAGE_PIXELS:,} pixels")
            ImageOps.exif_transpose(image, in_place=True)
            rgb = _rgb(image)
            if rgb.size != (size, size):
                rgb = ImageOps.fit(rgb, (size, size), Image.Resampling.BILINEAR)
            return np.asarray(rgb)
    # Pillow's decoders raise many kinds on broken files: OSError, SyntaxError, struct.error, IndexError and more.
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = f"its content is not {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise UserError(
            f"{path} can't be decoded: {reason}. Replace or remove the file; if it came from an archive, delete the "
            "extracted folder and start again."
        ) from None


def shorter_side(path: Path | str) -> int:
    """The shorter side of an image in pixels, without decoding it; 0 if that fails, which `decode_image` reports."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return min(image.size)
    except Exception:
        return 0


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined range; save it with 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        # Pillow would clip 16-bit grey at 255 instead of scaling it.
        grey = np.asarray(image).clip(0, 65535).astype(np.uint32)
        grey += 128  # in place, since copies of a large image fill the memory
        grey //= 257
        image = Image.fromarray(grey.astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")
