"""ColorJitter's arithmetic for CPUs, compiled: one image at a time, so that it stays in the cache."""

from collections.abc import Callable

import numpy as np
from numba import njit

# Entries of `order`, as in jitter.py, and the weights of luma.
BRIGHTNESS, CONTRAST, SATURATION = range(3)
RED, GREEN, BLUE = np.float32(0.2989), np.float32(0.587), np.float32(0.114)

ZERO, ONE, TWO, SIX, SIXTH, THIRD = (np.float32(value) for value in (0, 1, 2, 6, 1 / 6, 1 / 3))
# In turns of the colour circle, from each channel to its opposite colour.
FROM_RED, FROM_GREEN, FROM_BLUE = np.float32(1 / 2), np.float32(1 / 2 - 1 / 3), np.float32(1 / 2 - 2 / 3)
NO_CHROMA = np.float32(1e-12)


def compiled(function: Callable) -> Callable:
    """Compile a function with Numba on its first call, and cache the code beside this file or in the home folder.

    Sums may be reordered, since they could not be vectorised otherwise. Division by zero is not checked for. If neither
    folder is writable, each process compiles again.
    """
    options = {"fastmath": {"reassoc", "contract"}, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        return njit(**options)(function)


@compiled
def jitter_images(images, unit, factors, order, out):
    """Adjust brightness, contrast, saturation and hue of each image in its own order.

    Compiling takes 2 seconds for each dtype of the images, loading in later processes 0.3.

    Args:
        images: [B, pixels, 3], uint8 or float32 levels, contiguous.
        unit: factor from levels to 0..1, float32; a division would take twice as long.
        factors, order: as `jitter` takes them: float32 [B, 4] and int64 [B, 1 to 4].
        out: float32 [B, pixels, 3], contiguous; the result, 0..1, is written here.
    """
    pixels = images.shape[1]
    # A single array would be read with strides, and not vectorised.
    red, green, blue = np.empty(pixels, np.float32), np.empty(pixels, np.float32), np.empty(pixels, np.float32)
    for index in range(len(images)):
        image, jittered = images[index], out[index]
        for i in range(pixels):
            red[i], green[i], blue[i] = image[i, 0] * unit, image[i, 1] * unit, image[i, 2] * unit
        for kind in order[index]:
            factor = factors[index, kind]
            if kind == BRIGHTNESS:
                blend(red, green, blue, factor, ZERO, ZERO)
            elif kind == CONTRAST:
                mean = mean_grey(red, green, blue)
                blend(red, green, blue, factor, (ONE - factor) * mean, ZERO)
            elif kind == SATURATION:
                blend(red, green, blue, factor, ZERO, ONE - factor)
            else:
                turn_hue(red, green, blue, factor)
        for i in range(pixels):
            jittered[i, 0], jittered[i, 1], jittered[i, 2] = red[i], green[i], blue[i]


@compiled
def blend(red, green, blue, factor, constant, of_grey):
    """Each level times `factor`, plus `constant`, plus `of_grey` times the pixel's grey, clamped to 0..1."""
    for i in range(len(red)):
        added = constant + of_grey * (RED * red[i] + GREEN * green[i] + BLUE * blue[i])
        red[i] = min(max(red[i] * factor + added, ZERO), ONE)
        green[i] = min(max(green[i] * factor + added, ZERO), ONE)
        blue[i] = min(max(blue[i] * factor + added, ZERO), ONE)


@compiled
def mean_grey(red, green, blue):
    total = ZERO
    for i in range(len(red)):
        total += RED * red[i] + GREEN * green[i] + BLUE * blue[i]
    return total / np.float32(len(red))


@compiled
def turn_hue(red, green, blue, shift):
    """Rotate the hues by `shift` turns of the colour circle; `adjust_hue` explains how."""
    for i in range(len(red)):
        highest = max(max(red[i], green[i]), blue[i])
        chroma = highest - min(min(red[i], green[i]), blue[i])
        hue = TWO + (green[i] + blue[i] - red[i] - highest) / max(chroma, NO_CHROMA)
        turned = (hue if green[i] >= blue[i] else -hue) * SIXTH + shift
        least = highest - TWO * chroma
        red[i] = least + SIX * chroma * distance(turned + FROM_RED)
        green[i] = least + SIX * chroma * distance(turned + FROM_GREEN)
        blue[i] = least + SIX * chroma * distance(turned + FROM_BLUE)


@compiled
def distance(turns):
    """The distance to the nearest whole turn, which is the opposite colour, clamped to 1/6..1/3 of a turn."""
    return min(max(abs(turns - np.rint(turns)), SIXTH), THIRD)
