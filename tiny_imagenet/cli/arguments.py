"""From what the user typed to the arguments of a plain LightningCLI: config files, run folder, checkpoint."""

import difflib
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tiny_imagenet.errors import UserError
from tiny_imagenet.run.checkpoint_files import is_whole, resumable_checkpoint

log = logging.getLogger(__name__)

CONFIGS = Path(__file__).parents[2] / "configs"
RUNS = Path("runs")  # under the working directory
CONFIG_OPTIONS = ("--config", "-c")
EVALUATION_HARDWARE = ("accelerator=auto", "devices=1", "strategy=auto", "num_nodes=1")
COMMANDS = ("fit", "validate", "test", "predict")


@dataclass(frozen=True)
class Plan:
    """A command to carry out: LightningCLI's arguments, the run's folder, and the checkpoint to start from, if any."""

    command: str
    argv: list[str]
    run: Path
    checkpoint: Path | None


def plan(argv: list[str]) -> Plan:
    """Work out what a command line means. Reads the file system, changes nothing.

    `--config NAME` is a file, or one of `configs/` from any directory. `fit` runs in `runs/NAME/version_N`, NAME being
    that of `--name` or else the stem of the first config, and N the next free number; `--ckpt_path last` goes on in the
    newest version of NAME.
    The other commands take the config and the folder of the run that the checkpoint belongs to.

    Raises:
        UserError: a config or a checkpoint is not there, or a command lacks what it needs.
    """
    if not argv or argv[0] not in COMMANDS:
        return Plan("", argv, RUNS, None)  # --help, and whatever LightningCLI has to say of the rest
    command, arguments = argv[0], _joined(argv[1:])
    configs = [find_config(_value(argument)) for argument in arguments if _is(argument, *CONFIG_OPTIONS)]
    asked, name = (_last_value(arguments, option) for option in ("--ckpt_path", "--name"))
    if command == "fit":
        run, checkpoint = _fit_target(name or (configs[0].stem if configs else "defaults"), asked)
        before, chosen = [], []
    else:
        run, checkpoint = _evaluation_target(command, asked)
        before = [run / "config.yaml"] if (run / "config.yaml").is_file() else []
        # The machine that evaluates need not be the one that trained, nor may its config choose where to write.
        options = [*EVALUATION_HARDWARE, "profiler=null", *_half_precision(run)]
        chosen = [*(f"--trainer.{option}" for option in options), *_folder_options(run)]
        if not before and not configs:
            raise UserError(
                f"{run / 'config.yaml'}, which says how {checkpoint} was trained, is not there. Give its config: "
                f"python training.py {command} --config CONFIG --ckpt_path {checkpoint}"
            )
    found = iter(configs)
    rest = [f"--config={next(found)}" if _is(argument, *CONFIG_OPTIONS) else argument for argument in arguments]
    rest = [argument for argument in rest if not _is(argument, "--ckpt_path", "--name")]
    head = [
        f"--config={CONFIGS / 'defaults.yaml'}",
        *_folder_options(run),
        *(f"--config={path}" for path in before),
        *chosen,
    ]
    # weights_only: a checkpoint may come from anyone, and must not run code.
    tail = [f"--ckpt_path={checkpoint}", "--weights_only=true"] if checkpoint else []
    return Plan(command, [command, *head, *rest, *tail], run, checkpoint)


def find_config(name: str) -> Path:
    """The config file of that name: as a path from the working directory, or else in `configs/`.

    Raises:
        UserError: there is none; the message lists the nearest ones.
    """
    for path in (Path(name), CONFIGS / name, CONFIGS / f"{name}.yaml"):
        if path.is_file():
            return path
    known = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yaml"))
    near = difflib.get_close_matches(name, known, n=5, cutoff=0.4) or known
    raise UserError(f"There is no config {name!r}, neither here nor in {CONFIGS}. The nearest are: {', '.join(near)}.")


def newest_version(folder: Path) -> int:
    """The highest N of the folders version_N in a folder, or -1."""
    versions = [re.fullmatch(r"version_(\d+)", path.name) for path in folder.glob("version_*") if path.is_dir()]
    return max((int(match[1]) for match in versions if match), default=-1)


def _fit_target(name: str, asked: str | None) -> tuple[Path, Path | None]:
    newest = newest_version(RUNS / name)
    new_run = RUNS / name / f"version_{newest + 1}"
    if asked is None:
        return new_run, None
    if asked == "last":
        run = RUNS / name / f"version_{newest}"
        if checkpoint := resumable_checkpoint(run):
            return run, checkpoint
        best = run / "checkpoints" / "best.ckpt"
        older = [str(best)] * best.exists() + [
            str(path.parent.parent) for path in sorted((RUNS / name).glob("version_*/checkpoints/last.ckpt"))
        ]
        hint = f" A new run could go on from one of: {', '.join(older)}." if older else ""
        place = run if newest >= 0 else RUNS / name
        log.warning(f"--ckpt_path last: no checkpoint in {place} to go on from; starting afresh in {new_run}.{hint}")
        return new_run, None
    checkpoint = _existing(asked)
    # last.ckpt and previous.ckpt go on where they are; what was best once starts a run of its own.
    run = checkpoint.parent.parent
    goes_on = checkpoint.name in ("last.ckpt", "previous.ckpt") and (run / "config.yaml").is_file()
    return run if goes_on else new_run, checkpoint


def _evaluation_target(command: str, asked: str | None) -> tuple[Path, Path]:
    if asked is None:
        raise UserError(
            f"{command} needs a checkpoint: "
            f"python training.py {command} --ckpt_path runs/NAME/version_N/checkpoints/best.ckpt"
        )
    checkpoint = _existing(asked)
    run = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    return run, checkpoint


def _existing(checkpoint: str) -> Path:
    path = Path(checkpoint)
    if path.is_file():
        if not is_whole(path):
            raise UserError(f"{path} is damaged, or no checkpoint. The run's others are in {path.parent}.")
        return path
    there = sorted(map(str, RUNS.glob("**/checkpoints/*.ckpt")))
    near = difflib.get_close_matches(checkpoint, there, n=5, cutoff=0) or ["none yet"]
    raise UserError(f"There is no checkpoint {checkpoint}. In {RUNS.resolve()} there are: {', '.join(near)}.")


def _half_precision(run: Path) -> list[str]:
    """Where a run was trained in half precision, the option that leaves it to the machine that evaluates."""
    precision = run_config(run).get("trainer", {}).get("precision")
    return ["precision=null"] if "16" in str(precision) else []


def run_config(run: Path) -> dict[str, Any]:
    """The config of a run; empty where it has none.

    Raises:
        UserError: the file is damaged.
    """
    path = run / "config.yaml"
    try:
        config = yaml.safe_load(path.read_text()) if path.is_file() else {}
    except (yaml.YAMLError, UnicodeDecodeError):
        config = None
    if not isinstance(config, dict) or not isinstance(config.get("trainer", {}), dict):
        raise UserError(
            f"{path} is damaged. Bring it back, or give another: it is of the form of configs/defaults.yaml."
        )
    return config


def _folder_options(run: Path) -> list[str]:
    """The run's folder for callbacks and for TensorBoard alike; a config that names another logger overrides it."""
    logger = {
        "class_path": "TensorBoardLogger",
        "init_args": {"save_dir": str(run), "name": "", "version": "", "default_hp_metric": False},
    }
    return [f"--trainer.default_root_dir={run}", f"--trainer.logger={json.dumps(logger)}"]


def _joined(argv: list[str]) -> list[str]:
    """Arguments with `--config X` and others that `plan` reads written as one, `--config=X`."""
    joined, rest = [], iter(argv)
    for argument in rest:
        value = next(rest, None) if argument in (*CONFIG_OPTIONS, "--ckpt_path", "--name") else None
        joined.append(argument if value is None else f"{argument}={value}")
    return joined


def _is(argument: str, *names: str) -> bool:
    return argument.split("=", 1)[0] in names


def _value(argument: str) -> str:
    return argument.split("=", 1)[1]


def _last_value(arguments: list[str], option: str) -> str | None:
    return next((_value(argument) for argument in reversed(arguments) if _is(argument, option)), None)
