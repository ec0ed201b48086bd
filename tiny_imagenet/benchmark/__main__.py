"""The command line of the benchmark: python -m tiny_imagenet.benchmark [--archive FILE --md5 null] [--out FOLDER]"""

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from tiny_imagenet import hardware
from tiny_imagenet.benchmark import choices, estimate, stages, steps
from tiny_imagenet.benchmark.memory import reading_memory
from tiny_imagenet.benchmark.picture import rates_figure
from tiny_imagenet.benchmark.timing import race, ratio
from tiny_imagenet.cli.logs import show_log
from tiny_imagenet.data import TinyImageNetDataModule
from tiny_imagenet.errors import UserError
from tiny_imagenet.files import replace_text
from tiny_imagenet.progress import duration_text
from tiny_imagenet.report.tables import in_markdown
from tiny_imagenet.threads import VARIABLE, Load, choose, cores


def main(argv: list[str] | None = None) -> None:
    """Measure every stage, print a table, and write benchmark.json, benchmark.md and benchmark.png."""
    options = _parser().parse_args(argv)
    show_log()
    try:
        data = TinyImageNetDataModule(options.root, options.archive, options.md5, batch_size=stages.BATCH)
        data.setup("fit")
    except UserError as error:
        sys.exit(f"error: {error}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    hardware.set_up(device.type, None, single_pixels=False)  # as `fit` does
    workers = cores()
    if VARIABLE not in os.environ:
        torch.set_num_threads(choose(Load()).threads)
    # The trainings run in a temporary folder, so paths must be absolute.
    archive = Path(options.archive).resolve() if options.archive and Path(options.archive).exists() else options.archive
    fit_options = [f"--data.root={Path(options.root).resolve()}", f"--data.archive={archive or 'null'}",
                   f"--data.md5={options.md5 or 'null'}"]  # fmt: skip
    results: dict[str, Any] = {"machine": machine()}
    began = time.monotonic()
    _tell("measuring how long the benchmark will take …")
    costs = estimate.measured_costs(data, device)
    planned = stages.trainings(device, len(data.sets["train"]), costs.step, options.steps)
    seconds = estimate.part_seconds(costs, planned, device, workers, options)
    _tell(f"The benchmark takes about {duration_text(sum(seconds.values()))}, while this machine is as busy as now.")
    for name, measure in {
        # First, because pages that this process has read would count as shared.
        "memory": lambda: {str(n): reading_memory(data.packed("train"), n) for n in (1, 4)},
        "images": lambda: stages.image_stages(data, device, workers, options),
        "training": lambda: stages.training_steps(data, planned, fit_options, device, workers, options),
        "choices": lambda: race(choices.contestants(device, stages.BATCH), options.rounds, options.seconds, "choices"),
        "saving": lambda: steps.saving_seconds(device, options.rounds),
        "start": lambda: stages.start_up(fit_options, options.rounds),
        "curves": lambda: stages.curves(data, device, options),
    }.items():
        _tell(f"measuring {name}: about {duration_text(seconds[name])}")
        results[name] = measure()
        replace_text(options.out / "benchmark.json", json.dumps(results, indent=1))
    conditions = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    text = f"Measured by `python -m tiny_imagenet.benchmark`: {conditions}.\n\n{in_markdown(table(results))}\n"
    print(text)
    _tell(f"The benchmark took {duration_text(time.monotonic() - began)}. Its files are in {options.out}.")
    replace_text(options.out / "benchmark.md", text)
    title = f"crop + flip, packed to normalised batch; {results['machine']['device']}, {results['machine']['date']}"
    rates_figure(results["curves"], title).savefig(options.out / "benchmark.png", dpi=100)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def machine() -> dict[str, str]:
    """The hardware, the threads, the date, and the versions of the packages."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = f"{len(names) or os.cpu_count()} cores of {names[0] if names else platform.machine()}"
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    versions = {package: version(package) for package in ("torch", "torchvision", "lightning")}
    return {"device": gpu + cpu, "threads": str(torch.get_num_threads()), "date": date.today().isoformat(), **versions}


def table(results: Mapping[str, Any]) -> pd.DataFrame:
    """A row for each measurement, with a comparison."""
    rows = [(name, _rate(rates), "") for name, rates in results["images"]["parts"].items()]
    for recipe, rates in results["images"].items():
        for name in rates if recipe != "parts" else ():
            speedup = (
                f"this project is {ratio(rates, stages.OURS, name):.1f} times as fast" if name != stages.OURS else ""
            )
            rows.append((f"{recipe}: {name}", _rate(rates[name]), speedup))
    training = results["training"]
    ours = next((each["images_per_s"] for each in training.values() if "failed" not in each), math.nan)
    for name, each in training.items():
        if "failed" in each:
            rows.append((f"training: {name}", "failed", each["failed"]))
            continue
        comparison = f"this project is {ours / each['images_per_s']:.1f} times as fast"
        if "ratio" in each:
            share = each["share_of_peak"]  # of float32, a convolution may need fewer operations than are counted
            peak = f"{100 * share:.0f} % of a matrix product's rate" if share < 1 else "as fast as a matrix product"
            comparison = f"{each['ratio']:.3f} of a bare loop; {peak}"
            if each["gpu_percent"] is not None:
                comparison += f"; GPU busy {each['gpu_percent']:.0f} % of the time"
        rows.append((f"training: {name}", _rate([each["images_per_s"]]), comparison))
    waiting, total = (statistics.median(seconds) for seconds in results["saving"].values())
    epoch = 100_000 / ours  # seconds
    comparison = f"{total:.2f} s until it is on the disk; {100 * waiting / epoch:.2f} % of an epoch of 100,000 images"
    rows.append(("training waits while saving a ResNet-18", f"{waiting:.3f} s", comparison))
    for choice, rates in results["choices"].items():
        speedup = ratio(results["choices"], choice, choices.DEFAULT)
        comparison = f"{speedup:.2f} times as fast" if choice != choices.DEFAULT else ""
        rows.append((f"a bare step, {choice}", _rate(rates), comparison))
    for stage, seconds in results["start"].items():
        rows.append((f"start, until {stage}", f"{statistics.median(seconds):.1f} s", ""))
    for processes, memory in results["memory"].items():
        if memory is not None:
            images, of_one = memory["images"], results["memory"]["1"]["images"]
            comparison = f"{images:,.0f} MiB of it for the images, {images / of_one:.2f} times that of one process"
            rows.append((f"{processes} process(es) that have read all images", f"{memory['all']:,.0f} MiB", comparison))
    return pd.DataFrame(rows, columns=["what", "measured", "comparison"])


def _rate(rates: list[float]) -> str:
    return f"{statistics.median(rates):,.0f} images/s"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tiny_imagenet.benchmark", description=main.__doc__)
    defaults = TinyImageNetDataModule()
    parser.add_argument("--out", type=Path, default=Path("benchmark"), help="folder to write to")
    parser.add_argument("--root", default=str(defaults.root), help="like --data.root of training.py")
    parser.add_argument("--archive", type=_or_null, default=defaults.archive, help="like --data.archive")
    parser.add_argument("--md5", type=_or_null, default=defaults.md5, help="like --data.md5")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contestant; the median counts")
    parser.add_argument("--seconds", type=float, default=1.0, help="duration of a turn")
    parser.add_argument("--steps", type=int, help="steps of each training; by default as many as take half a minute")
    return parser


def _or_null(value: str) -> str | None:
    return None if value == "null" else value


if __name__ == "__main__":
    main()
