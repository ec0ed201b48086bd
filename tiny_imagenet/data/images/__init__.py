"""From image files to packed arrays of pixels."""
