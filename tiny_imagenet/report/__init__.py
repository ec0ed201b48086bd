"""Tables and pictures of runs, from the files that they left; needs no torch."""

from tiny_imagenet.report.choosing import best_first, best_of_each_data, by_data, data_text
from tiny_imagenet.report.classes import (
    best_and_worst_classes,
    classes_figure,
    confused_figure,
    examples,
    most_confused,
)
from tiny_imagenet.report.conditions import condition_medians, condition_numbers, conditions_table, with_conditions
from tiny_imagenet.report.curves import accuracy_by_minutes, curve_grid, curve_panels, curves
from tiny_imagenet.report.dataset import class_counts, counts_figure, image_rows, levels_figure
from tiny_imagenet.report.finding import Found, find_runs
from tiny_imagenet.report.page import write_report
from tiny_imagenet.report.published import (
    architecture_studies,
    other_studies_table,
    ten_models_grid,
    ten_models_table,
)
from tiny_imagenet.report.runs import Run
from tiny_imagenet.report.sections import sections
from tiny_imagenet.report.seeds import over_seeds
from tiny_imagenet.report.studies import (
    BATCH_SIZE,
    EPOCHS,
    LEARNING_RATE,
    OPTIMIZER,
    SCHEDULER,
    SHAPE,
    effects,
    find_studies,
    ranking,
    study_table,
)
from tiny_imagenet.report.tables import results_table, runs_table, shown_text

__all__ = [
    "BATCH_SIZE", "EPOCHS", "Found", "LEARNING_RATE", "OPTIMIZER", "Run", "SCHEDULER", "SHAPE", "accuracy_by_minutes",
    "architecture_studies", "best_and_worst_classes", "best_first", "best_of_each_data", "by_data", "class_counts",
    "classes_figure", "condition_medians", "condition_numbers", "conditions_table", "confused_figure", "counts_figure",
    "curve_grid", "curve_panels", "curves", "data_text", "effects", "examples", "find_runs", "find_studies",
    "image_rows", "levels_figure", "most_confused", "other_studies_table", "over_seeds", "ranking", "results_table",
    "runs_table", "sections", "shown_text", "study_table", "ten_models_grid", "ten_models_table", "with_conditions",
    "write_report",
]  # fmt: skip
