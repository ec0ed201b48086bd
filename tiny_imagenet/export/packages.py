"""The formats of an exported file, the packages that each needs, and its names. Imports no torch."""

import importlib.util
from typing import NamedTuple

from tiny_imagenet.errors import UserError


class Format(NamedTuple):
    """The suffix of a format's files, and the packages that write and run them, besides torch."""

    suffix: str
    packages: tuple[str, ...]


FORMATS = {"onnx": Format(".onnx", ("onnx", "onnxscript", "onnxruntime")), "torch_export": Format(".pt2", ())}
OPSETS = range(18, 26)  # of ONNX; torch.onnx (2.15) writes others as 18, without a word
OPSET = OPSETS[0]
INPUT, OUTPUT = "images", "probabilities"


def require_packages(format: str) -> None:
    """Raise UserError if a package that a format needs is not installed."""
    missing = [name for name in FORMATS[format].packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"--format {format} needs the package(s) {', '.join(missing)}. In the folder of this project: "
            "pip install -e '.[export]'"
        )
