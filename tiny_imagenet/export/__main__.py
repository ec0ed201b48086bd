"""The command line of exports: python -m tiny_imagenet.export CHECKPOINT [--format onnx|torch_export] [--out FILE]"""

import argparse
import sys
from pathlib import Path

from tiny_imagenet import threads
from tiny_imagenet.errors import UserError
from tiny_imagenet.export.packages import FORMATS, OPSET, OPSETS, require_packages


def main(argv: list[str] | None = None) -> None:
    """Write one file that classifies; `argv` defaults to that of the process.

    Exit status: 0; 1 for an error that the user can fix, printed as one message, after which there is no new file; 2
    for arguments that are not understood.
    """
    options, others = parser().parse_known_args(argv)
    try:
        if options.opset not in OPSETS:
            raise UserError(f"--opset must be from {OPSETS[0]} to {OPSETS[-1]}, not {options.opset}.")
        if options.format != "onnx" and (options.int8 or options.opset != OPSET):
            raise UserError(f"--int8 and --opset are for --format onnx, not {options.format}.")
        require_packages(options.format)
    except UserError as error:
        sys.exit(f"error: {error}")
    threads.wait_passively()  # before torch is loaded
    from tiny_imagenet.export import job

    job.main(options, others)


def parser() -> argparse.ArgumentParser:
    """The options of an export; it leaves those of `training.py test` to others."""
    parser = argparse.ArgumentParser(
        prog="python -m tiny_imagenet.export",
        usage="%(prog)s CHECKPOINT [OPTION VALUE]...",
        description="Write one file that classifies images without this project: uint8 [B, 3, H, W] of any size to "
        "probabilities [B, C]. It is kept only if it answers as the network does.",
        epilog="Options of training.py test are taken too: --data.root says where the run's test images are, "
        "--model.tta which views are averaged. How to use the file: docs/use-elsewhere.md.",
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint, a run's folder, last or best")
    parser.add_argument("--format", choices=FORMATS, default="onnx", help="onnx (default) or torch_export")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: beside the checkpoint")
    parser.add_argument(
        "--opset", type=int, default=OPSET, metavar="N", help=f"of ONNX, {OPSETS[0]} to {OPSETS[-1]} (default: {OPSET})"
    )
    smaller = parser.add_mutually_exclusive_group()
    smaller.add_argument("--half", action="store_true", help="compute in float16: half the size")
    smaller.add_argument("--int8", action="store_true", help="compute in 8 bits: a quarter of the size")
    return parser


if __name__ == "__main__":
    main()
