"""The published studies' figures, and our runs beside them. (Their sources are not known.)"""

from collections.abc import Sequence

import pandas as pd

from tiny_imagenet.report.runs import Run
from tiny_imagenet.report.studies import Factor, Study, find_studies
from tiny_imagenet.report.tables import ERROR, errors_of, results_table

# Test top-1 in percent of the published ten-model study: Tiny ImageNet at 224x224, 50 epochs, batch 64, plain SGD 0.1.
TEN_MODELS = {
    "resnet18": (44.6, 52.1),
    "resnet34": (44.7, 52.3),
    "resnet50": (42.2, 53.5),
    "resnet101": (43.3, 52.1),
    "resnet152": (41.6, 52.4),
}
# In percent, of the other studies, by the config that repeats them.
OTHERS = {
    "resnet18_scratch": {"top-1": 25.9},
    "resnet18_pretrained": {"top-1": 56.9},
    "resnet50_transfer": {"train top-1": 96.9, "top-1": 52.9, "top-5": 75.9},
    "cifar10_resnet18_5m": {"top-1": 91.49},
}
OUR_COLUMNS = (
    *("val top-1 (%)", "val top-5 (%)", "test top-1 (%)", "test top-5 (%)", "train top-1 last (%)"),
    *("epochs", "of"),
)
# Augmentation may come with a resize, and the published study's does.
ARCHITECTURE = Factor(
    "architecture",
    ("model.arch", "data.augment", "data.mix", "data.resize"),
    lambda settings: [settings.get("model.arch"), bool(settings.get("data.augment") or settings.get("data.mix"))],
)


def architecture_studies(runs: Sequence[Run]) -> list[Study]:
    """Runs of one recipe with several architectures, or with and without augmentation."""
    return find_studies(runs, ARCHITECTURE)


def ten_models_grid(study: Study) -> dict[str, list[Run | None]]:
    """Architecture → its baseline and its augmented run, None if there is none.

    The published five come first. Of several runs the one that was tested, then the newest, is taken.
    """
    grid: dict[str, list[Run | None]] = {}
    for run in sorted(study.runs, key=lambda run: (bool(run.test), run.version)):
        grid.setdefault(run.settings["model.arch"], [None, None])[run.augmented] = run
    order = [*TEN_MODELS, *sorted(grid.keys() - TEN_MODELS.keys())]
    return {arch: grid[arch] for arch in order if arch in grid}


def ten_models_table(study: Study) -> pd.DataFrame:
    """One row an architecture: val, test and published test top-1, without and with augmentation."""
    rows, errors = [], []
    for arch, pair in ten_models_grid(study).items():
        row: dict[str, str | float] = {"arch": arch}
        errors.append({})
        for kind, run, published in zip(
            ("baseline", "augmented"), pair, TEN_MODELS.get(arch, (None, None)), strict=True
        ):
            for name in ("val top-1 (%)", "test top-1 (%)"):
                row[f"{kind} {name}"] = run.results[name] if run else float("nan")
                errors[-1] |= {f"{kind} {name}": run.errors[name]} if run and name in run.errors else {}
            row[f"{kind} published (%)"] = published
        rows.append(row)
    table = pd.DataFrame(rows).astype({column: float for column in rows[0] if column != "arch"})
    return table.assign(**errors_of(errors))


def other_studies_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Our runs of the other published studies' configs beside the published figures; empty if there are none."""
    chosen = [run for run in runs if _config_name(run) in OTHERS]
    if not chosen:
        return pd.DataFrame()
    results = results_table(chosen)
    wanted = ["run", "seeds", *OUR_COLUMNS, *(f"{ERROR}{name}" for name in OUR_COLUMNS)]
    ours = results[[name for name in wanted if name in results]]
    for figure in ("train top-1", "top-1", "top-5"):
        ours[f"published {figure} (%)"] = [OTHERS[_config_name(run)].get(figure, float("nan")) for run in chosen]
    return ours


def _config_name(run: Run) -> str:
    return run.name.rpartition("/")[2]
