"""python -m tiny_imagenet.report RUNS --out DIR"""

import argparse
import sys
from pathlib import Path

from tiny_imagenet.errors import UserError


def main(argv: list[str] | None = None) -> None:
    """Write the report of a folder of runs. Exits with 1 and a message if that is not possible."""
    parser = argparse.ArgumentParser(
        prog="python -m tiny_imagenet.report", description="Tables and pictures of runs, finished or not."
    )
    parser.add_argument(
        "runs", nargs="?", default="runs", help="folder of runs, one run, or a checkpoint (default: runs)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("report"), help="folder for report.html, tables/ and pictures/"
    )
    arguments = parser.parse_args(argv)
    # Imported here, so that --help does not wait for pandas and matplotlib.
    from tiny_imagenet.report import find_runs, sections, write_report
    from tiny_imagenet.report.text import printable

    try:
        runs, skipped = find_runs(arguments.runs)
        title = f"{len(runs)} run{'s' if len(runs) > 1 else ''} in {printable(Path(arguments.runs).resolve().name)}"
        page = write_report(arguments.out, title, list(sections(runs, skipped)))
    except UserError as error:
        sys.exit(f"error: {error}")
    for where, why in skipped.items():
        print(f"skipped {where}: {why}", file=sys.stderr)
    print(f"{title}: {page}")


if __name__ == "__main__":
    main()
