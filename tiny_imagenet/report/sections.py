"""What the report tells of some runs: a section for each question that they can answer."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from tiny_imagenet.report.classes import (
    best_and_worst_classes,
    classes_figure,
    confused_figure,
    examples,
    most_confused,
)
from tiny_imagenet.report.conditions import condition_medians, condition_numbers, conditions_table, with_conditions
from tiny_imagenet.report.curves import FEW, accuracy_by_minutes, curve_grid, curve_panels, curves
from tiny_imagenet.report.page import Item, Picture, Section, Table, Text
from tiny_imagenet.report.published import (
    TEN_MODELS,
    architecture_studies,
    other_studies_table,
    ten_models_grid,
    ten_models_table,
)
from tiny_imagenet.report.runs import Run
from tiny_imagenet.report.studies import (
    BATCH_SIZE,
    EPOCHS,
    LEARNING_RATE,
    OPTIMIZER,
    SCHEDULER,
    SHAPE,
    Study,
    effects,
    find_studies,
    ranking,
    study_table,
)
from tiny_imagenet.report.tables import runs_table

TESTED = 3  # runs whose classes are shown, the best ones: each takes a page
NUMBERS = {"Batch size": BATCH_SIZE, "Learning rate": LEARNING_RATE}
CHOICES = {"Optimizers": OPTIMIZER, "Schedulers": SCHEDULER, "Width and blocks": SHAPE, "Epochs": EPOCHS}


def sections(runs: Sequence[Run], skipped: Mapping[str, str]) -> Iterator[Section]:
    """The report's sections, in order; those that these runs hold nothing for are left out."""
    yield Section("Runs", list(_all_runs(runs, skipped)))
    yield Section("Curves", list(_curves(runs)))
    for number, study in enumerate(architecture_studies(runs), start=1):
        title = "Architectures, baseline and augmented"
        yield Section(title if number == 1 else f"{title} ({number})", list(_architectures(study, number)))
    if len(table := other_studies_table(runs)):
        caption = "Runs of the other published studies' configs, and the published figures."
        yield Section("Beside published figures", [Table("published", caption, table)])
    for title, factor in NUMBERS.items():
        if studies := find_studies(runs, factor):
            yield Section(title, list(_numbers(studies)))
    for title, factor in CHOICES.items():
        if studies := find_studies(runs, factor):
            yield Section(title, list(_choices(studies)))
    if having := with_conditions(runs):
        yield Section("Condition numbers", list(_conditions(having)))
    tested = sorted((run for run in runs if len(run.per_class)), key=lambda run: -run.test.get("top1", 0))
    for run in tested[:TESTED]:
        yield Section(f"Classes: {run.label}", list(_classes(run, len(tested))))


def _all_runs(runs: Sequence[Run], skipped: Mapping[str, str]) -> Iterator[Item]:
    caption = (
        "All runs, with the settings that are not the same in all of them. Accuracies are in percent; val top-1 is of "
        "the best epoch (of the last where the validation images are the test images), val top-5 of the same one; "
        "seconds an epoch, images/s and memory are medians without the first epoch."
    )
    yield Table("runs", caption, runs_table(runs))
    if going := sum(len(run.metrics) < run.settings.get("trainer.max_epochs", 0) for run in runs):
        yield Text(f"{going} of {len(runs)} have not finished all their epochs, so they stand lower than they will.")
    if skipped:
        reasons = pd.DataFrame({"where": list(skipped), "why": list(skipped.values())})
        yield Table("skipped", "Skipped, since it could not be read:", reasons)


def _curves(runs: Sequence[Run]) -> Iterator[Item]:
    for metric, name in (("top1", "Top-1 accuracy"), ("loss", "Loss")):
        caption = f"{name}: training dashed, validation solid. In the legend, the best run first."
        yield Picture(f"curves_{metric}", caption, curves(runs, metric))
    if len(runs) <= FEW:
        caption = "Validation top-1 against minutes of training, validation included."
        yield Picture("accuracy_by_minutes", caption, accuracy_by_minutes(runs))
    else:
        yield Picture("curves_each", "Top-1 accuracy of each run.", curve_panels(runs))


def _architectures(study: Study, number: int) -> Iterator[Item]:
    grid, settings = ten_models_grid(study), study.runs[0].settings
    pixels, epochs = (settings.get(name, "?") for name in ("data.image_size", "trainer.max_epochs"))
    recipe = f"These runs: {settings.get('data', '?')}, {pixels}x{pixels}, {epochs} epochs"
    yield Text(f"{recipe}{', ' + study.label if study.label else ''}.")
    if TEN_MODELS.keys() & grid.keys():
        yield Text("Published: test top-1 at 224x224, 50 epochs with batch 64 and plain SGD at 0.1, all 200 classes.")
        if settings.get("data.classes") is not None or not str(settings.get("data")).startswith("TinyImageNet"):
            yield Text("These runs are not of all 200 classes, so their accuracies do not compare with the published.")
    yield Table(f"architectures_{number}", "Baseline and augmented, top-1 in percent.", ten_models_table(study))
    for metric, name in (("top1", "Top-1 accuracy"), ("loss", "Loss")):
        caption = f"{name}: baseline on the left, augmented on the right."
        yield Picture(f"architectures_{number}_{metric}", caption, curve_grid(list(grid.values()), metric))


def _numbers(studies: Sequence[Study]) -> Iterator[Item]:
    """Studies of a number: what it does, in one figure."""
    name = studies[0].factor.name.replace(" ", "_")
    caption = "A point for each run; lines go through the means of runs that differ in nothing else but the seed."
    yield Picture(name, caption, effects(studies))
    yield from _tables(studies, name)


def _choices(studies: Sequence[Study]) -> Iterator[Item]:
    """Studies of something that is no number: which is best."""
    name = studies[0].factor.name.replace(" ", "_")
    for number, study in enumerate(studies, start=1):
        yield Picture(f"{name}_{number}", f"The best run of each. {study.label}", ranking(study))
        yield Picture(f"{name}_{number}_top1", f"Top-1 accuracy. {study.label}", curves(study.runs))
    yield from _tables(studies, name)


def _tables(studies: Sequence[Study], name: str) -> Iterator[Item]:
    for number, study in enumerate(studies, start=1):
        yield Table(
            f"{name}_{number}",
            study.label or "All else is the same.",
            study_table(study).dropna(axis="columns", how="all"),
        )


def _conditions(runs: Sequence[Run]) -> Iterator[Item]:
    yield Picture("condition_medians", "The median over each run's layers.", condition_medians(runs))
    yield Picture("condition_numbers", "Every layer, from the first (dark) to the last.", condition_numbers(runs))
    yield Table("condition_numbers", "At the first and the last epoch that was measured.", conditions_table(runs))


def _classes(run: Run, tested: int) -> Iterator[Item]:
    name = f"{run.name.replace('/', '_')}_v{run.version}"
    if tested > TESTED:
        yield Text(f"The best {TESTED} of {tested} tested runs are shown.")
    yield Picture(f"classes_{name}", "The best and the worst classes.", classes_figure(run))
    if picture := examples(run):
        yield Picture(f"examples_{name}", "Test images of the best and the worst classes.", picture)
    yield Table(f"classes_{name}", "The best and the worst classes, in percent.", best_and_worst_classes(run))
    if len(pairs := most_confused(run)):
        caption = "The pairs of classes most often taken for one another."
        yield Picture(f"confused_{name}", caption, confused_figure(run))
        yield Table(f"confused_{name}", caption, pairs)
