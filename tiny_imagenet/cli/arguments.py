"""From what the user typed to the arguments of a plain LightningCLI: config files, run folder, checkpoint.

Sweeps use it without torch.
"""

import logging
import os
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tiny_imagenet.cli.loggers import logger_option
from tiny_imagenet.cli.printed import training_command
from tiny_imagenet.errors import UserError, did_you_mean, legible, some
from tiny_imagenet.run.checkpoint_files import checkpoint_to_resume, checkpoint_to_test, require_checkpoint
from tiny_imagenet.run.config_changes import flat
from tiny_imagenet.run.folder import (
    CHECKPOINTS,
    CONFIG,
    RUNS,
    checkpoint_path,
    newest_version,
    read_config,
    run_of,
    version_folder,
)

log = logging.getLogger(__name__)

CONFIGS = Path(__file__).parents[2] / "configs"
COMMANDS = ("fit", "validate", "test", "predict")
EVALUATION_HARDWARE = ("accelerator=auto", "devices=1", "strategy=auto", "num_nodes=1")
ALIASES = {"-c": "--config"}
IMAGES = ("--data.images", "--data.init_args.images")


def default_options() -> dict[str, Any]:
    """The options of configs/defaults.yaml by their dotted names in a config."""
    return flat(yaml.safe_load((CONFIGS / "defaults.yaml").read_text()))


@dataclass(frozen=True)
class Plan:
    """A command to run: LightningCLI's arguments, the run's folder, and the checkpoint to start from with its run.

    images: to predict, where several were given, or a name that is not UTF-8. LightningCLI would need minutes to parse
    some thousand names, and fails on such a one.
    """

    command: str
    argv: list[str]
    run: Path
    checkpoint: Path | None
    trained_in: Path | None = None
    images: tuple[str, ...] = ()

    @property
    def resumes(self) -> bool:
        """Whether it continues in the folder of its checkpoint's run."""
        return self.trained_in == self.run


def plan(argv: Sequence[str]) -> Plan:
    """Work out what a command line means. Reads the file system, changes nothing.

    `--config NAME` is a file, or one of `configs/` from any directory. Configs merge in their order, and options
    override them all, wherever they stand. `fit` trains in `runs/NAME/version_N`: NAME is that of `--name`, or else the
    stem of the first config, and N the next free number. `--ckpt_path last` resumes the newest version of NAME, and a
    run's folder resumes that run. The other commands take the config and the folder of the checkpoint's run.

    Raises:
        UserError: a config or a checkpoint is not there, or a command lacks what it needs; or an argument is not UTF-8.
    """
    command = argv[0]
    if any(argument == "--help-all" or argument.partition("=")[0].endswith(".help") for argument in argv):
        # jsonargparse's own help: of all options, or of a class. It prints it and exits.
        return Plan(command, ["--help" if argument == "--help-all" else argument for argument in argv], RUNS, None)
    values, options = separate(argv[1:], "--config", "--ckpt_path", "--name", "--trainer.default_root_dir")
    configs = [find_config(name) for name in values["--config"]]
    wanted, name, root = (_last(values[option]) for option in ("--ckpt_path", "--name", "--trainer.default_root_dir"))
    runs = Path(root).expanduser() / RUNS if root else RUNS
    if command == "fit":
        run, checkpoint, trained_in = _fit_target(runs, name or (configs[0].stem if configs else "defaults"), wanted)
        before = []
    else:
        run, checkpoint = _evaluation_target(command, runs / name if name else runs, wanted)
        trained_in, before = run, _evaluation_options(command, run, checkpoint, bool(configs))
    loggers, options = logger_option(configs, options, run)
    options, images = _several_images(options) if command == "predict" else (options, ())
    head = [f"--config={CONFIGS / 'defaults.yaml'}", *before, *(f"--config={path}" for path in configs)]
    tail = [f"--trainer.default_root_dir={run}", loggers]
    # weights_only: a checkpoint may come from anyone, and must not run code.
    tail += [f"--ckpt_path={checkpoint}", "--weights_only=true"] if checkpoint else []
    arguments = [command, *head, *options, *tail]
    if bad := [argument for argument in arguments if re.search("[\ud800-\udfff]", argument)]:
        raise UserError(f"{legible(bad[0])} is not UTF-8, as a config must be. Give that folder or file another name.")
    return Plan(command, arguments, run, checkpoint, trained_in, images)


def separate(arguments: Sequence[str], *names: str) -> tuple[dict[str, list[str]], list[str]]:
    """Take the named options out of a command line, written as `--option value` or `--option=value`.

    Returns:
        The values of each named option, in their order, and all other arguments.

    Raises:
        UserError: a named option has no value.
    """
    values: dict[str, list[str]] = {name: [] for name in names}
    others, rest = [], iter(arguments)
    for argument in rest:
        option, given, value = argument.partition("=")
        option = ALIASES.get(option, option)
        if option not in values:
            others.append(argument)
            continue
        if not given:
            value = next(rest, "")
        if not value or (not given and (value.startswith("--") or value in ALIASES)):
            raise UserError(f"{option} needs a value: {option} VALUE.")
        values[option].append(value)
    return values, others


def _several_images(options: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Take --data.images out of the options if it has several values, as of a shell's `*`, or a name not in UTF-8."""
    others, images, rest = [], None, deque(options)
    while rest:
        argument = rest.popleft()
        option, given, value = argument.partition("=")
        if option not in IMAGES:
            others.append(argument)
            continue
        images = [value] if given else []  # the last one counts, as of other options
        while rest and not rest[0].startswith("--"):
            images.append(rest.popleft())
    if images is None:
        return others, ()
    if len(images) > 1 or any(name != name.encode(errors="replace").decode() for name in images):
        return others, tuple(images)
    return [*others, "=".join([IMAGES[0], *images])], ()


def find_config(name: str) -> Path:
    """The config file of that name: as a path from the working directory, or else in `configs/`.

    Raises:
        UserError: there is none; the message names the nearest ones.
    """
    for path in (Path(name), CONFIGS / name, CONFIGS / f"{name}.yaml"):
        if os.path.isfile(path):  # unlike Path.is_file, of any name
            return path
    if os.path.exists(name) and not os.path.isdir(name):
        raise UserError(f"The config {name} is a pipe or a device. Write it to a file: a run reads it more than once.")
    known = sorted(
        path.relative_to(CONFIGS).with_suffix("").as_posix()
        for path in CONFIGS.rglob("*.yaml")
        if path.parent.name != "sweeps"
    )
    near = did_you_mean(name.removesuffix(".yaml"), known, listed=len(known))
    raise UserError(f"There is no config {name!r}, neither here nor in {CONFIGS}.{near}")


def resuming(argv: Sequence[str], target: Plan) -> list[str]:
    """The options of a `fit` with which it resumes the same run."""
    options = separate(argv[1:], "--ckpt_path")[1]
    # `last` is shorter, and means this run as long as no newer one has the same name.
    newest = plan(["fit", *options, "--ckpt_path", "last"]).run
    return [*options, "--ckpt_path", "last" if newest == target.run else str(target.run)]


def _fit_target(runs: Path, name: str, wanted: str | None) -> tuple[Path, Path | None, Path | None]:
    """The run's folder, the checkpoint that it resumes or starts from, and the run that the checkpoint is of."""
    newest = newest_version(runs / name)
    new_run, newest_run = version_folder(runs / name, newest + 1), version_folder(runs / name, newest)
    if wanted is None:
        return new_run, None, None
    if wanted == "last":
        if checkpoint := checkpoint_to_resume(newest_run):
            return newest_run, checkpoint, newest_run
        log.warning(f"--ckpt_path last: {_nothing_to_resume(runs / name, newest_run)} Starting afresh in {new_run}.")
        return new_run, None, None
    if Path(wanted).is_dir():
        if checkpoint := checkpoint_to_resume(run := _run_in(Path(wanted))):
            return run, checkpoint, run
        raise UserError(f"{wanted} has no checkpoint to resume from. {_existing(runs)}")
    checkpoint = checkpoint_path(newest_run, "best") if wanted == "best" else Path(wanted)
    _require_file(checkpoint, runs)
    run = require_checkpoint(checkpoint, training=True)
    # last.ckpt and previous.ckpt resume their own run; any other checkpoint starts a new one.
    resumes = checkpoint.name in ("last.ckpt", "previous.ckpt") and (run / CONFIG).is_file()
    return run if resumes else new_run, checkpoint, run


def _run_in(folder: Path) -> Path:
    """A run's folder, or the newest version in the folder of its name."""
    newest = newest_version(folder)
    return folder if newest < 0 else version_folder(folder, newest)


def _nothing_to_resume(folder: Path, newest_run: Path) -> str:
    others = [str(path) for path in [checkpoint_path(newest_run, "best")] if path.exists()]
    others += [str(run_of(path)) for path in sorted(folder.glob(f"version_*/{CHECKPOINTS}/last.ckpt"))]
    place = newest_run if newest_run.is_dir() else folder
    return f"{place} has no checkpoint to resume from." + (f" You could resume {some(others)}." if others else "")


def _evaluation_target(command: str, runs: Path, wanted: str | None) -> tuple[Path, Path]:
    """The folder of a checkpoint's run, and the checkpoint."""
    if wanted is None:
        raise UserError(
            f"{command} needs a checkpoint: {training_command(command, '--ckpt_path', 'best')} takes the newest run's. "
            f"It may also be a run's folder or a checkpoint file. {_existing(runs)}"
        )
    if wanted in ("last", "best"):
        newest = max(runs.glob(f"**/{CHECKPOINTS}/{wanted}.ckpt"), key=lambda path: path.stat().st_mtime, default=None)
        if newest is None:
            raise UserError(f"--ckpt_path {wanted}: no run in {runs.resolve()} has a checkpoint {wanted}.ckpt.")
        checkpoint = newest
    elif Path(wanted).is_dir():
        if (checkpoint := checkpoint_to_test(_run_in(Path(wanted)))) is None:
            raise UserError(f"{wanted} has no checkpoint. {_existing(runs)}")
    else:
        _require_file(checkpoint := Path(wanted), runs)
    return require_checkpoint(checkpoint, training=False), checkpoint


def _evaluation_options(command: str, run: Path, checkpoint: Path, has_config: bool) -> list[str]:
    """The run's config, and what it may not decide: on which hardware, and what a profiler writes where."""
    try:
        config = read_config(run)
    except FileNotFoundError:
        if not has_config:
            raise UserError(
                f"{run / CONFIG}, the config that {checkpoint} was trained with, is not there. Give the config: "
                f"{training_command(command, '--config', 'CONFIG', '--ckpt_path', str(checkpoint))}"
            ) from None
        return []
    # Where a run was trained in half precision, the machine that evaluates chooses anew.
    precision = ["precision=null"] if "16" in str(config.get("trainer", {}).get("precision")) else []
    options = [*EVALUATION_HARDWARE, "profiler=null", *precision]
    return [f"--config={run / CONFIG}", *(f"--trainer.{option}" for option in options)]


def _require_file(checkpoint: Path, runs: Path) -> None:
    if not checkpoint.is_file():
        raise UserError(f"There is no checkpoint {checkpoint}. {_existing(runs, str(checkpoint))}")


def _existing(runs: Path, wrong: str = "") -> str:
    """The checkpoints that there are, the newest first, or those that resemble a wrong path."""
    there = sorted(runs.glob(f"**/{CHECKPOINTS}/*.ckpt"), key=lambda path: -path.stat().st_mtime)
    there = [str(path) for path in there if not path.name.startswith(".")]
    if not there:
        return f"There is none in {runs.resolve()} yet."
    return f"In {runs.resolve()} there are: {some(there)}.{did_you_mean(wrong, there)}"


def _last(values: Sequence[str]) -> str | None:
    return values[-1] if values else None
