"""What a checkpoint must hold, checked before anything is made from it, since it may come from anyone."""

import math
import re
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tiny_imagenet.errors import legible

LARGEST_SIDE = 4096  # pixels of the images that a network sees
LARGEST_COUNT = 2**48  # of images, batches, steps and epochs
DATASET = ("class_ids", "class_names", "image_size", "mean", "std")
VERSION = re.compile(r"[2-9]\d{0,3}(\.\d{1,9}){1,3}((a|b|rc|\.dev|\.post)\d{1,9})*(\+[a-z0-9.]{1,40})?")
SHOWN = reprlib.Repr()
SHOWN.maxstring = SHOWN.maxother = 60


class Fault(NamedTuple):
    """A part of a checkpoint that can't be used."""

    part: str
    wanted: str
    found: str = ""

    def __str__(self) -> str:
        found = f", not {self.found}" if self.found else ""
        return legible(f"its {self.part[:200]} must be {self.wanted}{found}")


def first_fault(content: Mapping[str, Any], training: bool) -> Fault | None:
    """The first part that can't be used; None if all can.

    Args:
        content: of a checkpoint that has all parts, of the right types; see `checkpoint_files`.
        training: whether a training is to resume from it.
    """
    return next(_faults(content, training), None)


def fault(part: str, wanted: str, found: Any) -> Fault:
    """A fault with the value as a message shows it."""
    return Fault(part, wanted, shown(found))


def shown(value: Any) -> str:
    """A value as a message shows it: of a tensor its size, since its values could fill pages."""
    shape = getattr(value, "shape", None)
    return legible(SHOWN.repr(value)) if shape is None else f"a tensor {list(shape)}"


def weights_fault(state: Mapping[Any, Any], part: str) -> Fault | None:
    """What is wrong with weights by their names: something else, or values that are not finite."""
    import torch

    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            return fault(part, "tensors by their names", {name: tensor})
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.device.type == "meta":
            return Fault(f"{part}.{name}", "a dense tensor of real numbers")
        # The sum of finite values may overflow, so a sum that is finite is only the quick way.
        if tensor.is_floating_point() and not (tensor.float().sum().isfinite() or tensor.float().isfinite().all()):
            return Fault(f"{part}.{name}", "finite, and it has NaN or infinite values")
    return None


def _faults(content: Mapping[str, Any], training: bool) -> Iterator[Fault]:
    if not VERSION.fullmatch(version := content["pytorch-lightning_version"]):
        yield fault("pytorch-lightning_version", "a version from 2.0 on", version)
    for part in ("state_dict", "current_model_state"):  # the latter beside averaged weights
        state = content.get(part, {})
        if not isinstance(state, Mapping):
            yield fault(part, "tensors by their names", state)
        elif found := weights_fault(state, part):
            yield found
    yield from _of_dataset(content["dataset"], content["state_dict"])
    yield from _of_metrics(content["train_metrics"])
    yield from _of_callbacks(content.get("callbacks", {}))
    if not isinstance(options := content.get("hyper_parameters", {}), dict):
        yield fault("hyper_parameters", "values by their names", options)
    if training:
        yield from _of_progress(content)


def _of_dataset(dataset: dict[Any, Any], weights: Mapping[str, Any]) -> Iterator[Fault]:
    if dataset.keys() != set(DATASET):
        yield fault("dataset", ", ".join(DATASET), list(dataset))
        return
    ids, names, side, mean, std = (dataset[name] for name in DATASET)
    if not _are_texts(ids) or len(set(ids)) != len(ids) or not ids:
        yield fault("dataset.class_ids", "different texts", ids)
        return
    # Otherwise a small file could ask for a network that no memory has room for.
    head = weights.get("network.fc.weight")
    if head is not None and head.ndim == 2 and len(head) != len(ids):
        yield Fault("dataset.class_ids", f"as many as its weights have classes, {len(head):,}", f"{len(ids):,}")
    elif len(ids) > (values := sum(tensor.numel() for tensor in weights.values())):
        yield Fault("dataset.class_ids", f"at most its {values:,} weights", f"{len(ids):,}")
    if not _are_texts(names) or len(names) != len(ids):
        yield fault("dataset.class_names", f"{len(ids):,} texts, as many as class_ids", names)
    if not _is_count(side) or not 1 <= side <= LARGEST_SIDE:
        yield fault("dataset.image_size", f"a number of pixels from 1 to {LARGEST_SIDE}", side)
    if not _are_three_numbers(mean):
        yield fault("dataset.mean", "three numbers", mean)
    if not _are_three_numbers(std) or min(std) <= 0:
        yield fault("dataset.std", "three numbers above 0", std)


def _of_metrics(metrics: dict[Any, Any]) -> Iterator[Fault]:
    for name, sums in metrics.items():
        if not isinstance(name, str) or not isinstance(sums, dict):
            yield fault("train_metrics", "sums by their names", {name: sums})
        elif found := weights_fault(sums, f"train_metrics.{name}"):
            yield found
        elif any(not values.ndim or not len(values) for values in sums.values()):
            yield Fault(f"train_metrics.{name}", "sums of each process")


def _of_callbacks(callbacks: Any) -> Iterator[Fault]:
    if not isinstance(callbacks, dict) or not all(isinstance(state, dict) for state in callbacks.values()):
        yield fault("callbacks", "states by their names", callbacks)
        return
    # Those of this project's own, as they save them.
    for part, is_usable, wanted in (
        ("RunCheckpoint.rows", lambda rows: _are_rows(rows, {"epoch", "step"}), "rows of metrics.csv"),
        ("RunCheckpoint.validation", lambda values: _are_rows([values], set()), "numbers by their names"),
        ("RunCheckpoint.stopped_early", lambda stopped: isinstance(stopped, bool), "true or false"),
        ("EpochStatistics.seconds", is_number, "a number"),
        ("ConditionNumbers.rows", lambda rows: _are_rows(rows, {"epoch", "condition_number"}, {"layer"}), "rows"),
    ):
        callback, _, name = part.partition(".")
        state = callbacks.get(callback, {})
        if name in state and not is_usable(state[name]):
            yield fault(f"callbacks.{part}", wanted, state[name])
    for callback, needed in (("RunCheckpoint", {"rows"}), ("EpochStatistics", {"seconds"})):
        if callback in callbacks and not callbacks[callback].keys() >= needed:
            yield fault(f"callbacks.{callback}", " and ".join(sorted(needed)), list(callbacks[callback]))


def _of_progress(content: Mapping[str, Any]) -> Iterator[Fault]:
    """Of where a training is; what optimizers hold is compared with the optimizer itself, in `restoring`."""
    for part in ("epoch", "global_step"):
        if not _is_count(content.get(part)):
            yield fault(part, "a number from 0", content.get(part))
    loop = content["loops"]["fit_loop"]
    for part in ("epoch_progress", "epoch_loop.batch_progress"):
        counts = loop.get(part) if isinstance(loop, dict) else None
        for which in ("total", "current"):
            count = counts.get(which) if isinstance(counts, dict) else None
            wanted = ("ready", "started", "processed", "completed")
            if not isinstance(count, dict) or not all(_is_count(count.get(name)) for name in wanted):
                yield fault(f"loops.fit_loop.{part}.{which}", f"numbers from 0 for {', '.join(wanted)}", count)
    for schedule in content["lr_schedulers"]:
        if not isinstance(schedule, dict) or not is_number(schedule.get("total_steps", 0)):
            yield fault("lr_schedulers", "states of schedules", schedule)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


def _are_three_numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3 and all(map(_is_finite, value))


def _are_rows(value: Any, needed: set[str], texts: set[str] = frozenset()) -> bool:
    """Whether it is a list of numbers by their names, these included, and besides them `texts`."""
    return isinstance(value, list) and all(
        isinstance(row, dict)
        and row.keys() >= needed | texts
        and all(isinstance(name, str) and (is_number(each) or name in texts) for name, each in row.items())
        and all(isinstance(row[name], str) for name in texts)
        for row in value
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_COUNT


def is_number(value: Any) -> bool:
    """Whether it is a number, NaN and infinity included, that fits in a float."""
    return type(value) is float or (type(value) is int and abs(value) <= LARGEST_COUNT)


def _is_finite(value: Any) -> bool:
    return is_number(value) and math.isfinite(value)
