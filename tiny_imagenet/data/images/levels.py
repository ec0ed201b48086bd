"""Pixels of more than 8 bits a channel, or of floating point, as 8 bits: no level is lost that 8 bits can hold.

A file that states its range (PGM; PNG by sBIT; TIFF by its bits per sample or its highest value) is scaled by it. For
others, the range is the narrowest usual one that holds all levels of the image, and this is reported.
"""

import sys
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

from tiny_imagenet.data.images.png import significant_bits

WHOLE = [2**bits - 1 for bits in (8, 10, 12, 14, 16, 24, 32)]  # the highest levels of usual ranges, of integers
FLOATING = [1, *WHOLE[:5]]
OWN_RANGE = "from the lowest to the highest level of each"
ROWS = 512  # that are scaled at once: a large image does not fit into memory several times
# TIFF's tags, and values of them
BITS_PER_SAMPLE, PHOTOMETRIC, HIGHEST, PLANES, SAMPLE_FORMAT, LEAST_SAMPLE, MOST_SAMPLE = (
    258, 262, 281, 284, 339, 340, 341,
)  # fmt: skip
UNSIGNED, SEPARATE = 1, 2


def is_deep(image: Image.Image) -> bool:
    """Whether an image that was not loaded yet has more than 8 bits a channel, or floating-point pixels."""
    return image.mode[0] in "IF" or (image.format in ("PNG", "TIFF") and _deep_colour(image))


def in_8_bits(image: Image.Image, path: str, again: Callable[[], Image.Image]) -> tuple[Image.Image, str]:
    """Read a deep image to mode L, LA, RGB or RGBA, turned as its EXIF says; tRNS becomes an alpha channel.

    Args:
        image: as opened, not loaded yet.
        path: where its file is.
        again: opens the image once more.

    Returns:
        The image, and which range its levels were taken to have, such as "0..4095"; empty if the file states it.
    """
    clear, kind = image.info.get("transparency"), image.format
    tags = getattr(image, "tag_v2", {})
    pixels = _deep_pixels(image, again)
    if kind == "TIFF" and pixels.dtype == np.int32 and tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0] == UNSIGNED:
        pixels = pixels.view(np.uint32)
    colours = pixels if pixels.shape[2] in (1, 3) else pixels[..., :-1]
    low, high = colours.min(), colours.max()
    if not np.isfinite([low, high]).all():
        raise ValueError("it has pixels that are not finite numbers")
    bottom, top, guess = _range(kind, tags, path, pixels.dtype.kind == "f", low.item(), high.item())
    shown = _scaled(colours, bottom, top)
    if tags.get(PHOTOMETRIC) == 0:  # the lowest level is white
        shown = 255 - shown
    if colours is not pixels:
        alpha = pixels[..., -1:]
        shown = np.concatenate([shown, _scaled(alpha, 0, top if alpha.max() <= top else 65535)], axis=2)
    elif clear is not None:
        alpha = 255 * (colours != np.array(clear, colours.dtype)).any(axis=2, keepdims=True)
        shown = np.concatenate([shown, alpha.astype(np.uint8)], axis=2)
    return Image.fromarray(shown[..., 0] if shown.shape[2] == 1 else shown), guess


def raw_mode(image: Image.Image) -> str:
    """How the file stores pixels, in Pillow's words; of the first tile, as all have the same."""
    args = image.tile[0].args if image.tile else ""
    raw = args[0] if isinstance(args, tuple) and args else args
    return raw if isinstance(raw, str) else ""


def _range(kind: str, tags: dict, path: str, floating: bool, low: float, high: float) -> tuple[float, float, str]:
    """The levels that become 0 and 255, and how the range is told to the user; empty if the file states it."""
    if kind == "PPM":
        return 0, 65535, ""  # Pillow has scaled by the file's own highest level
    if kind == "PNG" and (bits := significant_bits(path)):
        # By the standard, samples are scaled to 16 bits; many programs leave them in the lower bits.
        return 0, 2**bits - 1 if high < 2**bits else 65535, ""
    if kind == "TIFF":
        bottom, top = (_first(tags.get(tag)) for tag in (LEAST_SAMPLE, MOST_SAMPLE))
        top = _first(tags.get(HIGHEST)) if top is None else top
        if top is not None and (bottom or 0) <= low and high <= top and (bottom or 0) < top:
            return bottom or 0, top, ""
        if (bits := _first(tags.get(BITS_PER_SAMPLE)) or 16) < 16:
            return 0, 2**bits - 1, ""
    usual = [top for top in (FLOATING if floating else WHOLE) if top >= high]
    if low < 0 or not usual:
        return low, high, OWN_RANGE
    return 0, usual[0], "" if usual[0] == 65535 and not floating else f"0..{usual[0]}"


def _first(value: object) -> float | None:
    value = value[0] if isinstance(value, tuple) and value else value
    return float(value) if isinstance(value, int | float) else None


def _scaled(values: np.ndarray, bottom: float, top: float) -> np.ndarray:
    """Levels [H, W, C] as uint8, `bottom` as 0 and `top` as 255, rounded to the nearest."""
    shown = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), ROWS):
        rows = values[start : start + ROWS].astype(np.float64)
        rows = (rows - bottom) * 255 / max(top - bottom, np.finfo(np.float32).tiny)
        shown[start : start + ROWS] = np.floor(rows + 0.5).clip(0, 255)
    return shown


def _deep_pixels(image: Image.Image, again: Callable[[], Image.Image]) -> np.ndarray:
    """All bits of the pixels, [H, W, C]."""
    raw = raw_mode(image) if _deep_colour(image) else ""
    if raw and getattr(image, "tag_v2", {}).get(PLANES) == SEPARATE:
        raise ValueError("its channels of 16 bits are stored one after another, which Pillow can't read")
    if raw.startswith("LA"):  # Pillow's name for two channels of 16 bits, which are four of 8
        image.tile = _tiles(image, "RGBA")
        return _turned(image).view(">u2").astype(np.uint16)
    if raw:
        # Pillow keeps the upper 8 bits of 16-bit colours. Read with the opposite byte order, these are the lower 8.
        with again() as lower:
            lower.tile = _tiles(lower, raw[:-1] + _other_order(raw[-1]))
            low = _turned(lower)
        return np.left_shift(_turned(image), 8, dtype=np.uint16) | low
    return _turned(image)[..., None]


def _turned(image: Image.Image) -> np.ndarray:
    ImageOps.exif_transpose(image, in_place=True)
    return np.asarray(image)


def _deep_colour(image: Image.Image) -> bool:
    raw = raw_mode(image)
    if getattr(image, "tag_v2", {}).get(PLANES) == SEPARATE:
        return image.mode in ("RGB", "RGBA") and max(image.tag_v2.get(BITS_PER_SAMPLE, (8,))) > 8
    return image.mode in ("RGB", "RGBA") and raw[:-1] in ("RGB;16", "RGBA;16", "RGBX;16", "LA;16")


def _tiles(image: Image.Image, raw: str) -> list:
    """An image's tiles, to be read in another raw mode."""
    changed = ((raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw for tile in image.tile)
    return [tile._replace(args=args) for tile, args in zip(image.tile, changed, strict=True)]


def _other_order(order: str) -> str:
    """The byte order (L little, B big, N this machine's) that takes a sample's other byte."""
    return {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}[order]
