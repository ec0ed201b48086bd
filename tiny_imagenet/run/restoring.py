"""Restores a checkpoint part by part: one that does not fit is named, before anything of the run on disk changes."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import lightning.pytorch as pl
from torch import Tensor
from torch.optim import Optimizer

from tiny_imagenet.errors import UserError, first_line, user_message
from tiny_imagenet.run import lightning_internals
from tiny_imagenet.run.checkpoint_schema import LARGEST_COUNT, Fault, fault, is_number, weights_fault

KNOWN = ("lightning.", "torch.", "tiny_imagenet.")  # packages whose classes have states of a known form

Check = Callable[[pl.Trainer, dict[str, Any]], Iterator[Fault]]  # of a checkpoint's content


def name_parts_that_do_not_fit(trainer: pl.Trainer) -> None:
    """From now on, restoring a checkpoint raises UserError, with the file and the part, where a part does not fit."""
    checks = {
        "callbacks": _of_callbacks,
        "precision": _of_precision,
        "loops": _of_loops,
        "optimizer_states": _of_optimizers,
        "lr_schedulers": _of_schedules,
    }
    for part in lightning_internals.RESTORED:
        check = checks.get(part, _of_what_restoring_checks)
        lightning_internals.wrap_restoring(trainer, part, partial(_restore, trainer, part, check))


def _restore(trainer: pl.Trainer, part: str, check: Check, restore: Callable[..., None], *args: Any, **kw: Any) -> None:
    path, content = lightning_internals.checkpoint_being_restored(trainer)
    try:
        if content and (found := next(check(trainer, content), None)):
            raise UserError(f"{path} is damaged, or of another training: {found}.")
        restore(*args, **kw)
    except Exception as error:
        if user_message(error) is not None:
            raise
        raise UserError(
            f"{path} is damaged, or of another training: its {part} can't be restored ({first_line(error)})."
        ) from error


def _of_what_restoring_checks(trainer: pl.Trainer, content: dict[str, Any]) -> Iterator[Fault]:
    return iter(())


def _of_callbacks(trainer: pl.Trainer, content: dict[str, Any]) -> Iterator[Fault]:
    saved = content.get("callbacks", {})
    for callback in trainer.callbacks:
        if callback.state_key in saved and _is_known(callback):
            yield from _differences(f"callbacks.{callback.state_key}", saved[callback.state_key], callback.state_dict())


def _of_precision(trainer: pl.Trainer, content: dict[str, Any]) -> Iterator[Fault]:
    name = type(trainer.precision_plugin).__qualname__
    if name in content:
        yield from _differences(name, content[name], trainer.precision_plugin.state_dict())


def _of_loops(trainer: pl.Trainer, content: dict[str, Any]) -> Iterator[Fault]:
    """All counts must be there, and nothing else, since Lightning sets whatever a checkpoint has."""
    if trainer.state.fn == "fit":
        saved = content["loops"]["fit_loop"]
        for name, own in trainer.fit_loop.state_dict().items():
            yield from _other_counts(f"loops.fit_loop.{name}", saved.get(name), own)


def _of_optimizers(trainer: pl.Trainer, content: dict[str, Any]) -> Iterator[Fault]:
    saved = content["optimizer_states"]
    if len(saved) != len(trainer.optimizers):
        yield fault("optimizer_states", f"of {len(trainer.optimizers)} optimizer", saved)
        return
    for number, (state, optimizer) in enumerate(zip(saved, trainer.optimizers, strict=True)):
        part, own = f"optimizer_states.{number}", optimizer.state_dict()
        if not isinstance(state, dict) or not isinstance(state.get("state"), dict):
            yield fault(part, "the state of an optimizer", state)
            return
        yield from _differences(f"{part}.param_groups", state.get("param_groups"), own["param_groups"])
        if _is_known(optimizer):
            yield from _other_shapes(f"{part}.state", state, optimizer)


def _of_schedules(trainer: pl.Trainer, content: dict[str, Any]) -> Iterator[Fault]:
    saved, schedules = content["lr_schedulers"], [config.scheduler for config in trainer.lr_scheduler_configs]
    if len(saved) != len(schedules):
        yield fault("lr_schedulers", f"of {len(schedules)} schedule(s)", saved)
        return
    for number, (state, schedule) in enumerate(zip(saved, schedules, strict=True)):
        part = f"lr_schedulers.{number}"
        yield from _differences(part, state, schedule.state_dict())
        # torch sets whatever a state has.
        if hiding := [name for name in state if callable(getattr(type(schedule), str(name), None))]:
            yield fault(part, "without the names of methods", hiding)


# Comparing with what is there


def _differences(part: str, saved: Any, own: Any) -> Iterator[Fault]:
    """Where a saved state has values of other types or shapes than a state of the same class now.

    A value that either of them lacks is no difference, nor is an empty list, nor None, which stands for anything.
    """
    match own:
        case dict():
            if not isinstance(saved, dict):
                yield fault(part, "values by their names", saved)
                return
            for name in own.keys() & saved.keys():
                yield from _differences(f"{part}.{name}", saved[name], own[name])
        case list() | tuple():
            if not isinstance(saved, list | tuple) or (own and len(saved) != len(own)):
                yield fault(part, f"{len(own)} values" if own else "a list", saved)
                return
            for number, (each, own_each) in enumerate(zip(saved, own, strict=False)):
                yield from _differences(f"{part}.{number}", each, own_each)
        case Tensor():
            if not isinstance(saved, Tensor) or saved.shape != own.shape:
                yield fault(part, f"a tensor {list(own.shape)}", saved)
        case bool() | str():
            if not isinstance(saved, type(own)):
                yield fault(part, "true or false" if isinstance(own, bool) else "text", saved)
        case int() | float():
            if not is_number(saved) or (math.isfinite(own) and not math.isfinite(saved)):
                yield fault(part, "a number", saved)


def _other_counts(part: str, saved: Any, own: Any) -> Iterator[Fault]:
    if isinstance(own, dict):
        if not isinstance(saved, dict) or saved.keys() != own.keys():
            yield fault(part, ", ".join(own) or "empty", saved)
            return
        for name in own:
            yield from _other_counts(f"{part}.{name}", saved[name], own[name])
    elif type(saved) is not type(own) or not 0 <= saved <= LARGEST_COUNT:
        yield fault(part, "true or false" if isinstance(own, bool) else "a number from 0", saved)


def _other_shapes(part: str, saved: dict[str, Any], optimizer: Optimizer) -> Iterator[Fault]:
    """Where an optimizer's state of a parameter can't be broadcast to it, as the states of torch's optimizers can."""
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states: dict[bool, dict[int, dict[str, Any]]] = {False: {}, True: {}}
    for number, parameter in zip(numbers, parameters, strict=True):
        values = saved["state"].get(number, {})
        if not isinstance(values, dict):
            yield fault(f"{part}.{number}", "values by their names", values)
            return
        tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        if found := weights_fault(tensors, f"{part}.{number}"):
            yield found
        for name, value in values.items():
            shape = list(parameter.shape)
            sides = zip(getattr(value, "shape", ()), shape, strict=False)
            if not isinstance(value, Tensor | int | float | type(None)) or (
                name in tensors and value.ndim and (value.ndim != len(shape) or any(a not in (1, b) for a, b in sides))
            ):
                yield fault(f"{part}.{number}.{name}", f"a number, or a tensor that fits {shape}", value)
        if values:  # An optimizer makes those of a parameter in its first step.
            states[parameter.ndim > 1][number] = values
    for alike in states.values():  # Some optimizers keep others of matrices.
        yield from _odd_ones(part, alike)


def _odd_ones(part: str, states: dict[int, dict[str, Any]]) -> Iterator[Fault]:
    """Where a value of one parameter is lost, or of another kind than those of most; None stands for any kind."""
    for name in {name: None for values in states.values() for name in values}:
        kinds: dict[str | None, list[int]] = {}
        for number, values in states.items():
            if values.get(name, 0) is not None:
                kinds.setdefault(_kind(values[name]) if name in values else None, []).append(number)
        usual = max(kinds, key=lambda kind: len(kinds[kind]), default=None)
        for kind, numbers in kinds.items():
            for number in numbers if usual and kind != usual else ():
                yield fault(f"{part}.{number}.{name}", f"{usual}, as of other parameters", states[number].get(name))


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return "a tensor" if value.ndim else "a tensor []"
    return "a number"


def _is_known(instance: Any) -> bool:
    return type(instance).__module__.startswith(KNOWN)
