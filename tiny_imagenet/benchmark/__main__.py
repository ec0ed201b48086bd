"""The command line of the benchmark: python -m tiny_imagenet.benchmark [--archive FILE --md5 null] [--out FOLDER]"""

import argparse
import json
import math
import os
import platform
import statistics
import sys
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from tiny_imagenet import hardware
from tiny_imagenet.benchmark import choices, stages, steps
from tiny_imagenet.benchmark.memory import reading_memory
from tiny_imagenet.benchmark.picture import rates_figure
from tiny_imagenet.benchmark.timing import race, ratio
from tiny_imagenet.data import TinyImageNetDataModule
from tiny_imagenet.errors import UserError
from tiny_imagenet.files import replace_text
from tiny_imagenet.report.tables import in_markdown


def main(argv: list[str] | None = None) -> None:
    """Measure every stage, print a table, and leave benchmark.json, benchmark.md and benchmark.png."""
    options = _parser().parse_args(argv)
    try:
        data = TinyImageNetDataModule(options.root, options.archive, options.md5, batch_size=stages.BATCH)
        data.setup("fit")
    except UserError as error:
        sys.exit(f"error: {error}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    hardware.set_up(device.type, None, single_pixels=False)  # as `fit` does
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # The trainings run elsewhere, so that they leave nothing here.
    archive = Path(options.archive).resolve() if options.archive and Path(options.archive).exists() else options.archive
    fit_options = [f"--data.root={Path(options.root).resolve()}", f"--data.archive={archive or 'null'}",
                   f"--data.md5={options.md5 or 'null'}"]  # fmt: skip
    results: dict[str, Any] = {"machine": machine()}
    for name, measure in {
        # First, since this process would share the pages that it has read.
        "memory": lambda: {str(n): reading_memory(data.packed("train"), n) for n in (1, 4)},
        "images": lambda: stages.image_stages(data, device, workers, options),
        "training": lambda: stages.training_steps(data, fit_options, device, workers, options),
        "choices": lambda: race(choices.contestants(device, stages.BATCH), options.rounds, options.seconds),
        "saving": lambda: steps.saving_seconds(device, options.rounds),
        "start": lambda: stages.start_up(fit_options, options.rounds),
        "curves": lambda: stages.curves(data, device, options),
    }.items():
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        results[name] = measure()
        replace_text(options.out / "benchmark.json", json.dumps(results, indent=1))
    told = ", ".join(f"{what} {value}" for what, value in results["machine"].items())
    text = f"Measured by `python -m tiny_imagenet.benchmark`: {told}.\n\n{in_markdown(table(results))}\n"
    print(text)
    replace_text(options.out / "benchmark.md", text)
    title = f"crop + flip, packed to normalised batch; {results['machine']['device']}, {results['machine']['date']}"
    rates_figure(results["curves"], title).savefig(options.out / "benchmark.png", dpi=100)


def machine() -> dict[str, str]:
    """What was measured on, when, and with which versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = f"{len(names) or os.cpu_count()} cores of {names[0] if names else platform.machine()}"
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    versions = {package: version(package) for package in ("torch", "torchvision", "lightning")}
    return {"device": gpu + cpu, "date": date.today().isoformat(), **versions}


def table(results: Mapping[str, Any]) -> pd.DataFrame:
    """A row for each figure, with what it is to be compared with."""
    rows = [(f"{name}", _rate(rates), "") for name, rates in results["images"]["parts"].items()]
    for recipe, rates in results["images"].items():
        for who in rates if recipe != "parts" else ():
            times = f"this project is {ratio(rates, stages.OURS, who):.1f} times as fast" if who != stages.OURS else ""
            rows.append((f"{recipe}: {who}", _rate(rates[who]), times))
    training = results["training"]
    ours = next((each["images_per_s"] for each in training.values() if "failed" not in each), math.nan)
    for name, each in training.items():
        if "failed" in each:
            rows.append((f"training: {name}", "failed", each["failed"]))
            continue
        against = f"this project is {ours / each['images_per_s']:.1f} times as fast"
        if "ratio" in each:
            against = (
                f"{each['ratio']:.3f} of a bare loop; {100 * each['share_of_peak']:.0f} % of a matrix product's rate"
            )
            if each["gpu_percent"] is not None:
                against += f"; GPU busy {each['gpu_percent']:.0f} % of the time"
        rows.append((f"training: {name}", _rate([each["images_per_s"]]), against))
    waits, whole = (statistics.median(seconds) for seconds in results["saving"].values())
    share = waits / (100_000 / ours)
    against = f"{whole:.2f} s to the disk; {100 * share:.2f} % of an epoch of 100,000 images"
    rows.append(("training waits for a checkpoint of ResNet-18", f"{waits:.3f} s", against))
    for choice, rates in results["choices"].items():
        times = ratio(results["choices"], choice, choices.DEFAULT)
        against = f"{times:.2f} times as fast" if choice != choices.DEFAULT else ""
        rows.append((f"a bare step, {choice}", _rate(rates), against))
    for what, seconds in results["start"].items():
        rows.append((f"start, until {what}", f"{statistics.median(seconds):.1f} s", ""))
    for processes, memory in results["memory"].items():
        if memory is not None:
            images, of_one = memory["images"], results["memory"]["1"]["images"]
            against = f"{images:,.0f} MiB of it the images, {images / of_one:.2f} of 1 process's"
            rows.append((f"{processes} process(es) that have read all images", f"{memory['all']:,.0f} MiB", against))
    return pd.DataFrame(rows, columns=["what", "measured", "against"])


def _rate(rates: list[float]) -> str:
    return f"{statistics.median(rates):,.0f} images/s"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tiny_imagenet.benchmark", description=main.__doc__)
    defaults = TinyImageNetDataModule()
    parser.add_argument("--out", type=Path, default=Path("benchmark"), help="folder to write to")
    parser.add_argument("--root", default=str(defaults.root), help="as --data.root of training.py")
    parser.add_argument("--archive", type=_or_null, default=defaults.archive, help="as --data.archive")
    parser.add_argument("--md5", type=_or_null, default=defaults.md5, help="as --data.md5")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant; medians count")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn")
    parser.add_argument("--steps", type=int, default=200, help="of each training")
    return parser


def _or_null(value: str) -> str | None:
    return None if value == "null" else value


if __name__ == "__main__":
    main()
