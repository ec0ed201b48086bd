"""The report's sections: one for each question that the runs can answer."""

import re
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from tiny_imagenet.report.choosing import best_few, best_first, best_of_each_data, by_data
from tiny_imagenet.report.classes import (
    best_and_worst_classes,
    classes_figure,
    confused_figure,
    examples,
    most_confused,
)
from tiny_imagenet.report.conditions import condition_medians, condition_numbers, conditions_table, with_conditions
from tiny_imagenet.report.curves import FEW, accuracy_by_minutes, curve_grid, curve_panels, curves
from tiny_imagenet.report.figures import COLOURED, PANELS
from tiny_imagenet.report.page import Item, Picture, Section, Table, Text
from tiny_imagenet.report.published import (
    TEN_MODELS,
    architecture_studies,
    other_studies_table,
    ten_models_grid,
    ten_models_table,
)
from tiny_imagenet.report.runs import Run
from tiny_imagenet.report.seeds import over_seeds
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
from tiny_imagenet.report.tables import MAIN, data_columns, runs_table

TESTED = 3  # runs whose classes are shown, the best ones: each takes a page
STUDIES = 4  # of one factor, the largest ones
NUMBERS = {"Batch size": BATCH_SIZE, "Learning rate": LEARNING_RATE}
CHOICES = {"Optimizers": OPTIMIZER, "Schedulers": SCHEDULER, "Width and blocks": SHAPE, "Epochs": EPOCHS}


def sections(every: Sequence[Run], skipped: Mapping[str, str]) -> Iterator[Section]:
    """The report's sections, in order, without empty ones. Runs that differ only in their seed are shown as one."""
    runs = over_seeds(every)
    yield Section("Runs", list(_all_runs(runs, every, skipped)))
    yield Section("Curves", list(_curves(runs)))
    if studies := architecture_studies(runs):
        yield Section("Architectures, baseline and augmented", list(_architectures(studies)))
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
    tested = [run for run in runs if len(run.per_class)]
    for place, run in enumerate(best_few(tested, TESTED), start=1):
        yield Section(f"Classes: {run.label}", list(_classes(run, place, len(tested))))


def _all_runs(runs: Sequence[Run], every: Sequence[Run], skipped: Mapping[str, str]) -> Iterator[Item]:
    caption = (
        "Best validation top-1 first; click a column's head to sort by it. Val top-1 and top-5 are from the epoch with "
        "the best val top-1, or from the last epoch if the validation images are the test images. Images/s, seconds an "
        "epoch and memory are medians without the first epoch. All columns: other results, and settings that differ."
    )
    table = runs_table(runs)
    main = [*MAIN, *data_columns(table)] if (data_sets := len(by_data(runs))) > 1 else MAIN
    best = set(best_of_each_data(runs)) if len(runs) > 1 else set()
    yield Table("runs", caption, table, main, {place for place, run in enumerate(best_first(runs)) if run in best})
    if repeated := [each for run in runs if len(run.each) > 1 for each in run.each]:
        yield Text("Runs that differ only in their seed are one row: the means of their results ± the standard error.")
        yield Table("seeds", "Each of these runs", runs_table(repeated), main, folded=True)
    if data_sets > 1:
        advice = "Accuracies compare only within one; the best run of each is marked."
        yield Text(f"These runs use {data_sets} data sets or splits. {advice}")
    if going := sum(not run.finished for run in every):
        yield Text(f"{going} of {len(every)} runs have not finished all their epochs; their results may still rise.")
    if skipped:
        reasons = pd.DataFrame({"where": list(skipped), "why": list(skipped.values())})
        yield Table("skipped", "Skipped, because they could not be read:", reasons)


def _curves(runs: Sequence[Run]) -> Iterator[Item]:
    few = len(runs) <= FEW
    if len(runs) > 1:
        yield Text(f"Best run first{f'; the best {COLOURED} are in colour' if len(runs) > COLOURED else ''}.")
    seeds = " Bands are from the lowest to the highest seed." if any(len(run.each) > 1 for run in runs) else ""
    for metric, name in (("top1", "Top-1 accuracy"), ("loss", "Loss")):
        yield Picture(f"curves_{metric}", f"{name}.{seeds}", curves(runs, metric))
    if few:
        caption = "Validation top-1 against minutes of training, validation included."
        yield Picture("accuracy_by_minutes", caption, accuracy_by_minutes(runs))
    else:
        yield Picture("curves_each", f"Top-1 accuracy of {_of_all(PANELS, runs)}.", curve_panels(runs))


def _architectures(studies: Sequence[Study]) -> Iterator[Item]:
    if any(TEN_MODELS.keys() & ten_models_grid(study).keys() for study in studies):
        yield Text("Published: test top-1 at 224x224, 50 epochs with batch 64 and plain SGD at 0.1, all 200 classes.")
    yield from _largest(studies)
    for number, study in enumerate(studies[:STUDIES], start=1):
        grid, settings = ten_models_grid(study), study.runs[0].settings
        pixels, epochs = (settings.get(name, "?") for name in ("data.image_size", "trainer.max_epochs"))
        recipe = f"These runs: {settings.get('data', '?')}, {pixels}x{pixels}, {epochs} epochs"
        other = settings.get("data.classes") is not None or not str(settings.get("data")).startswith("TinyImageNet")
        not_all = " They do not use all 200 classes, so their accuracies do not compare with the published ones."
        yield Text(f"{recipe}{', ' + study.label if study.label else ''}.{not_all if other else ''}")
        table = ten_models_table(study)
        yield Table(f"architectures_{number}", "Top-1 in percent.", table)
        for metric, name in (("top1", "Top-1 accuracy"), ("loss", "Loss")):
            caption = f"{name}: baseline on the left, augmented on the right."
            yield Picture(f"architectures_{number}_{metric}", caption, curve_grid(list(grid.values()), metric))


def _numbers(studies: Sequence[Study]) -> Iterator[Item]:
    """Studies of a number: its effect, in one figure."""
    name = studies[0].factor.name.replace(" ", "_")
    yield from _largest(studies)
    caption = "A point for each run. Lines connect the means of runs that differ only in the seed."
    if any(len(run.each) > 1 for study in studies for run in study.runs):
        caption = "A point for each run, or for the mean over its seeds with its standard error."
    yield Picture(name, caption, effects(studies[:STUDIES]))
    for number, study in enumerate(studies[:STUDIES], start=1):
        yield _table(study, f"{name}_{number}", _title(study))


def _choices(studies: Sequence[Study]) -> Iterator[Item]:
    """Studies of something that is not a number: which is best."""
    factor = studies[0].factor.name
    name = factor.replace(" ", "_")
    yield from _largest(studies)
    for number, study in enumerate(studies[:STUDIES], start=1):
        yield Text(_title(study))
        yield Picture(f"{name}_{number}", f"The best run of each {factor}.", ranking(study))
        yield Picture(f"{name}_{number}_top1", "Top-1 accuracy of all.", curves(study.runs))
        yield _table(study, f"{name}_{number}", "")


def _largest(studies: Sequence[Study]) -> Iterator[Item]:
    if len(studies) > STUDIES:
        yield Text(f"The largest {STUDIES} of {len(studies)} comparisons are shown.")


def _title(study: Study) -> str:
    if study.controlled:
        label = f" ({study.label})" if study.label else ""
        return f"These runs differ only in {study.factor.name} and seed{label}."
    return f"{study.label[:1].upper()}{study.label[1:]}."


def _table(study: Study, name: str, caption: str) -> Item:
    table = study_table(study).dropna(axis="columns", how="all")
    return Table(name, caption, table, [study.factor.name, *MAIN[1:], "run"])


def _conditions(runs: Sequence[Run]) -> Iterator[Item]:
    caption = f"The median over the layers of {_of_all(COLOURED, runs)}."
    yield Picture("condition_medians", caption, condition_medians(runs))
    caption = f"Every layer, from the first (dark) to the last (light), of {_of_all(PANELS, runs)}."
    yield Picture("condition_numbers", caption, condition_numbers(runs))
    yield Table("condition_numbers", "At the first and the last measured epoch.", conditions_table(runs))


def _classes(run: Run, place: int, tested: int) -> Iterator[Item]:
    name = f"{place}_{re.sub(r'[^A-Za-z0-9.-]+', '_', f'{run.name}_v{run.version}')[:80]}"
    if len(run.each) > 1:
        yield Text(f"One of the {len(run.each)} seeds is shown, that of {run.name}, version {run.version}.")
    if tested > TESTED and place == 1:
        yield Text(f"The best {TESTED} of {tested} tested runs are shown, chosen by validation.")
    yield Picture(f"classes_{name}", "The best and the worst classes.", classes_figure(run))
    pairs = most_confused(run)
    if len(pairs):
        yield Picture(f"confused_{name}", "The pairs of classes that are confused most often.", confused_figure(run))
    if picture := examples(run):
        yield Picture(f"examples_{name}", "Test images; wrong answers are labelled with the predicted class.", picture)
    yield Table(f"classes_{name}", "Table of these classes", best_and_worst_classes(run), folded=True)
    if len(pairs):
        yield Table(f"confused_{name}", "Table of these pairs", pairs, folded=True)


def _of_all(most: int, runs: Sequence[Run]) -> str:
    """ "the best 12 of 500 runs; 488 are not drawn", or "each run" if there are no more."""
    return f"the best {most} of {len(runs)} runs; {len(runs) - most} are not drawn" if len(runs) > most else "each run"
