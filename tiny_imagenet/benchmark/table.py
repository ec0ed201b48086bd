"""The results as a table, and the machine that they were measured on."""

import math
import os
import platform
import statistics
from collections.abc import Iterator, Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from tiny_imagenet.benchmark import choices, stages
from tiny_imagenet.benchmark.alternatives import installed
from tiny_imagenet.benchmark.timing import Rates, ratio

Row = dict[str, str]


def machine() -> dict[str, str]:
    """The hardware, the threads, the date, and the versions of the packages."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = f"{len(names) or os.cpu_count()} cores of {names[0] if names else platform.machine()}"
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    versions = {package: version(package) for package in ("torch", "torchvision", "lightning")} | installed()
    return {"device": gpu + cpu, "threads": str(torch.get_num_threads()), "date": date.today().isoformat(), **versions}


def table(results: Mapping[str, Any]) -> pd.DataFrame:
    """A row for each measurement, with a comparison."""
    rows = [*_image_rows(results["images"]), *training_rows(results["training"])]
    waiting, total = (statistics.median(seconds) for seconds in results["saving"].values())
    epoch = 100_000 / _first_fit(results["training"]).get("images_per_s", math.nan)  # seconds
    share = _compared("; {:.2f} % of an epoch of 100,000 images", 100 * waiting / epoch)
    comparison = f"{total:.2f} s until it is on the disk{share}"
    rows.append(row("training waits while saving a ResNet-18", f"{waiting:.3f} s", comparison))
    for choice, rates in results["choices"].items():
        speedup = _compared("{:.2f} times as fast", ratio(results["choices"], choice, choices.DEFAULT))
        comparison = speedup if choice != choices.DEFAULT else ""
        rows.append(_rates_row(f"a bare step, {choice}", rates, comparison))
    for stage, seconds in results["start"].items():
        rows.append(row(f"start, until {stage}", f"{statistics.median(seconds):.1f} s"))
    for processes, memory in results["memory"].items():
        if memory is not None:
            images, of_one = memory["images"], results["memory"]["1"]["images"]
            comparison = f"{images:,.0f} MiB of it for the images, {images / of_one:.2f} times that of one process"
            rows.append(
                row(f"{processes} process(es) that have read all images", f"{memory['all']:,.0f} MiB", comparison)
            )
    return pd.DataFrame(rows)


def training_rows(training: Mapping[str, Mapping[str, Any]]) -> Iterator[Row]:
    """A row for each training, as `stages.training_steps` gives them."""
    ours = _first_fit(training)
    for name, each in training.items():
        if "failed" in each:
            yield row(f"training: {name}", "failed", each["failed"])
            continue
        comparison = [_compared("{:.3f} of a bare loop", each["ratio"])]
        if "share_of_peak" in each:
            share = each["share_of_peak"]  # of float32, a convolution may need fewer operations than are counted
            comparison.append(
                f"{100 * share:.0f} % of a matrix product's rate" if share < 1 else "as fast as a matrix product"
            )
            if each["gpu_percent"] is not None:
                comparison.append(f"GPU busy {each['gpu_percent']:.0f} % of the time")
        elif ours:
            comparison.append(_speedup(ours["ratio"] / each["ratio"]))
        rates = {what: [each[what]] for what in ("images_per_s", "images_per_cpu_s")}
        yield _rates_row(f"training: {name}", rates, "; ".join(filter(None, comparison)))


def _first_fit(training: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    return next((each for each in training.values() if "share_of_peak" in each), {})


def _image_rows(images: Mapping[str, Mapping[str, Rates]]) -> Iterator[Row]:
    for name, rates in images["parts"].items():
        yield _rates_row(name, rates)
    for recipe, rates in images.items():
        for name in rates if recipe != "parts" else ():
            alone = name.removesuffix(f", {stages.BUSY}")
            comparison = _speedup(ratio(rates, stages.OURS, name))
            if alone != name:
                comparison = _compared("{:.2f} of its rate alone", ratio(rates, name, alone))
            yield _rates_row(f"{recipe}: {name}", rates[name], comparison if name != stages.OURS else "")


def _speedup(times: float) -> str:
    return _compared(f"this project is {{:.{1 if times >= 1 else 2}f}} times as fast", times)


def _compared(text: str, times: float) -> str:
    """The text with a ratio or share in it; empty if one of the two could not be measured."""
    return "" if math.isnan(times) else text.format(times)


def _rates_row(what: str, rates: Rates, comparison: str = "") -> Row:
    of_cpu = statistics.median(rates.get("images_per_cpu_s", [math.nan]))
    measured = row(what, f"{statistics.median(rates['images_per_s']):,.0f} images/s", comparison)
    return measured | {"images per CPU-second": "" if math.isnan(of_cpu) else f"{of_cpu:,.0f}"}


def row(what: str, measured: str, comparison: str = "") -> Row:
    """A row without a rate."""
    return {"what": what, "measured": measured, "images per CPU-second": "", "comparison": comparison}
