"""The command line of the benchmark: python -m tiny_imagenet.benchmark [--archive FILE --md5 null] [--out FOLDER]"""

import argparse
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from tiny_imagenet import hardware
from tiny_imagenet.benchmark import choices, estimate, stages, steps
from tiny_imagenet.benchmark.alternatives import not_installed
from tiny_imagenet.benchmark.data_options import add_data_options, fit_options, prepared_data
from tiny_imagenet.benchmark.memory import reading_memory
from tiny_imagenet.benchmark.picture import rates_figure
from tiny_imagenet.benchmark.table import machine, table
from tiny_imagenet.benchmark.timing import race
from tiny_imagenet.cli.logs import show_log
from tiny_imagenet.files import replace_text
from tiny_imagenet.progress import duration_text
from tiny_imagenet.report.tables import in_markdown
from tiny_imagenet.threads import VARIABLE, Load, choose, cores


def main(argv: list[str] | None = None) -> None:
    """Measure every stage, print a table, and write benchmark.json, benchmark.md and benchmark.png."""
    options = _parser().parse_args(argv)
    show_log()
    # A curve shows what more processes than cores cost.
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    data = prepared_data(options, batch_size=stages.BATCH)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    hardware.set_up(device.type, None, single_pixels=False)  # as `fit` does
    workers = cores()
    if VARIABLE not in os.environ:
        torch.set_num_threads(choose(Load()).threads)
    of_data = fit_options(options)
    results: dict[str, Any] = {"machine": machine()}
    began = time.monotonic()
    if missing := not_installed():
        results["machine"]["not installed"] = missing
        _tell(f"not installed: {missing}")
    _tell("measuring how long the benchmark will take …")
    costs = estimate.measured_costs(data, device)
    planned = stages.trainings(device, len(data.sets["train"]), costs.step, options.steps)
    seconds = estimate.part_seconds(costs, planned, device, workers, options)
    _tell(f"The benchmark takes about {duration_text(sum(seconds.values()))}, while this machine is as busy as now.")
    for name, measure in {
        # First, because pages that this process has read would count as shared.
        "memory": lambda: {str(n): reading_memory(data.packed("train"), n) for n in (1, 4)},
        "images": lambda: stages.image_stages(data, device, workers, options),
        "training": lambda: stages.training_steps(data, planned, of_data, device, workers, options),
        "choices": lambda: race(choices.contestants(device, stages.BATCH), options.rounds, options.seconds, "choices"),
        "saving": lambda: steps.saving_seconds(device, options.rounds),
        "start": lambda: stages.start_up(of_data, options.rounds),
        "curves": lambda: stages.curves(data, device, options),
    }.items():
        _tell(f"measuring {name}: about {duration_text(seconds[name])}")
        results[name] = measure()
        replace_text(options.out / "benchmark.json", json.dumps(results, indent=1))
    conditions = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    text = f"Measured by `python -m tiny_imagenet.benchmark`: {conditions}.\n\n{in_markdown(table(results))}\n"
    print(text, end="")
    _tell(f"The benchmark took {duration_text(time.monotonic() - began)}. Its files are in {options.out}.")
    replace_text(options.out / "benchmark.md", text)
    title = f"crop + flip, packed to normalised batch; {results['machine']['device']}, {results['machine']['date']}"
    rates_figure(results["curves"], title).savefig(options.out / "benchmark.png", dpi=100)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tiny_imagenet.benchmark", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmark"), help="folder to write to")
    add_data_options(parser)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contestant; the median counts")
    parser.add_argument("--seconds", type=float, default=1.0, help="duration of a turn")
    parser.add_argument("--steps", type=int, help="steps of each training; by default as many as take half a minute")
    return parser


if __name__ == "__main__":
    main()
