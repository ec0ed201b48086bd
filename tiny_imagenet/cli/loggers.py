"""Loggers: TensorBoard, and those that the user names, each in the run's folder and resumed with the run."""

import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tiny_imagenet.errors import UserError
from tiny_imagenet.files import read_json, replace_text
from tiny_imagenet.run.bounded import read_yaml

OPTION = "--trainer.logger"
IDS = "loggers.json"  # in the run's folder: by which id each logger's service knows the run

# The argument by which a logger continues the run of that id.
ID_ARGUMENT = {"WandbLogger": "id", "MLFlowLogger": "run_id", "CometLogger": "experiment_key"}


def logger_option(configs: Sequence[Path], options: Sequence[str], run: Path) -> tuple[str, list[str]]:
    """The loggers of a run as one complete option, and the options that are not about loggers.

    Args:
        configs: files that may hold `trainer.logger`; a later one wins, and `options` win over all.
        run: the run's folder, which need not exist yet.

    Raises:
        UserError: a config can't be read, or a logger is neither a class nor false.
    """
    wanted, others = _wanted(configs), []
    rest = iter(options)
    for argument in rest:
        name, given, value = argument.partition("=")
        if not name.startswith((f"{OPTION}.", f"{OPTION}+")) and name != OPTION:
            others.append(argument)
            continue
        value = value if given else next(rest, "")
        if not value or (not given and value.startswith("--")):
            raise UserError(f"{name} needs a value: {name} VALUE.")
        value = _parsed(value)
        if name == OPTION:
            wanted = value
        elif name == f"{OPTION}+":
            wanted = [*_as_list(wanted), *_as_list(value)]
        else:
            wanted = _with_argument(wanted, name.removeprefix(f"{OPTION}.").removeprefix("init_args."), value)
    if wanted is False:
        return f"{OPTION}=false", others
    ids = read_ids(run)
    loggers = [_placed(spec, run, ids) for spec in _as_list(wanted)]
    if not any(_name(spec) == "TensorBoardLogger" for spec in loggers):
        loggers.insert(0, _placed({"class_path": "TensorBoardLogger"}, run, ids))
    return f"{OPTION}={json.dumps(loggers)}", others


def read_ids(run: Path) -> dict[str, str]:
    """The ids by which services know a run, by the name of the logger's class."""
    try:
        ids = read_json(run / IDS)
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in ids.items() if isinstance(value, str)} if isinstance(ids, dict) else {}


def write_ids(run: Path, loggers: Sequence[Any]) -> None:
    """Keep the ids of a training's loggers, for when it is resumed."""
    ids = {type(logger).__name__: str(logger.version) for logger in loggers if type(logger).__name__ in ID_ARGUMENT}
    if ids:
        replace_text(run / IDS, json.dumps(ids, indent=2) + "\n")


def _wanted(configs: Sequence[Path]) -> Any:
    wanted = None
    for path in configs:
        try:
            content = read_yaml(path)
        except ValueError as error:
            raise UserError(f"The config {path} can't be read: {error}.") from None
        if content is None:
            continue
        if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
            raise UserError(f"The config {path} must map model, data and trainer to their options.")
        trainer = content.get("trainer")
        if not isinstance(trainer, dict):
            continue
        if trainer.get("default_root_dir") is not None:
            raise UserError(
                f"{path}: trainer.default_root_dir is set in a config; give it on the command line instead."
            )
        wanted = trainer.get("logger", wanted)
    return wanted


def _parsed(value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


def _as_list(wanted: Any) -> list[dict[str, Any]]:
    """Loggers as {class_path, init_args}, from a class path, one of these, or a list of either."""
    if wanted in (None, True, ""):
        return []
    specs = []
    for each in wanted if isinstance(wanted, list) else [wanted]:
        spec = {"class_path": each} if isinstance(each, str) else each
        if not isinstance(spec, dict) or not isinstance(spec.get("class_path"), str):
            raise UserError(f"trainer.logger: {each!r} is not a logger. Give a class, such as CSVLogger, or false.")
        specs.append(spec)
    return specs


def _with_argument(wanted: Any, name: str, value: Any) -> list[dict[str, Any]]:
    specs = _as_list(wanted)
    if not specs:
        raise UserError(f"{OPTION}.{name}: name the logger first, such as {OPTION} CSVLogger.")
    last = specs[-1]
    return [*specs[:-1], {**last, "init_args": {**(last.get("init_args") or {}), name: value}}]


def _placed(spec: dict[str, Any], run: Path, ids: dict[str, str]) -> dict[str, Any]:
    """A logger with its folder in the run, a name of its own there, and the id that it had.

    Lightning's CSVLogger deletes what is in its folder, so each resumption has one of its own: csv/version_N.
    """
    name, given = _name(spec), spec.get("init_args") or {}
    title = f"{run.parent.name}/{run.name}"
    defaults: dict[str, dict[str, Any]] = {
        "TensorBoardLogger": {"default_hp_metric": False},
        "WandbLogger": {"name": title, "id": uuid.uuid4().hex[:12]},
        # A database, since MLflow gives up its store of files.
        "MLFlowLogger": {"run_name": title, "tracking_uri": f"sqlite:///{run / 'mlflow.db'}",
                         "artifact_location": str(run / "mlruns")},
    }  # fmt: skip
    if name == "MLFlowLogger" and ("MLFLOW_TRACKING_URI" in os.environ or {"tracking_uri", "save_dir"} & given.keys()):
        defaults[name] = {"run_name": title}
    known = {ID_ARGUMENT[name]: ids[name]} if name in ids else {}
    # Nothing is written outside the run, whatever a config says. The report and TensorBoard look for the events in the
    # run's folder itself.
    fixed = {
        "TensorBoardLogger": {"save_dir": str(run), "name": "", "version": ""},
        "CSVLogger": {"save_dir": str(run), "name": "csv", "version": None},
        "WandbLogger": {"save_dir": str(run)},
    }.get(name, {})
    placed = {**spec, "init_args": {**defaults.get(name, {}), **known, **given, **fixed}}
    if name == "WandbLogger":
        placed["dict_kwargs"] = {"resume": "allow", **(spec.get("dict_kwargs") or {})}
    return placed


def _name(spec: dict[str, Any]) -> str:
    return spec["class_path"].rpartition(".")[2]
