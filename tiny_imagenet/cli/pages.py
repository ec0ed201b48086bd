"""Pages of help and of lists: what there is, before anything runs. Torch is imported only where a list needs it."""

import inspect
import sys
from collections.abc import Sequence
from typing import Any

from tiny_imagenet.cli.arguments import COMMANDS, CONFIGS, default_options
from tiny_imagenet.cli.printed import training_command
from tiny_imagenet.errors import did_you_mean
from tiny_imagenet.progress import say

HELP = ("-h", "--help")
LISTS = ("configs", "augmentations", "optimizers", "schedulers", "archs")
WHAT = {
    "fit": "Train a ResNet, or resume its training.",
    "validate": "Evaluate a checkpoint on the validation images.",
    "test": "Evaluate a checkpoint on the test images, and write tables and pictures into its run.",
    "predict": "Classify images with a checkpoint, and write predictions.csv and .html into its run.",
}

# Options whose .help without a class lists the classes.
CLASSES = {
    "--data.augment.help": "augmentations",
    "--model.optimizer.help": "optimizers",
    "--model.scheduler.help": "schedulers",
}

# The options that people use, by topic: option, value, meaning. tests/cli/test_pages.py checks that each exists.
FIT = {
    "Run": [
        ("--config", "NAME", "a file, or one of configs/; several are merged"),
        ("--name", "NAME", "its folder runs/NAME; default: of the config"),
        ("--ckpt_path", "last", "resume the newest run; or a checkpoint, a folder"),
        ("--trainer.max_epochs", "N", "passes over the training images"),
        ("--trainer.devices", "N", "GPUs, with --trainer.strategy ddp"),
        ("--trainer.precision", "P", "bf16-mixed, 16-mixed or 32-true"),
        ("--seed_everything", "N", "seed of everything random"),
    ],
    "Data": [
        ("--data", "CLASS", "TinyImageNetDataModule, CIFAR10DataModule,"),
        ("", "", "ImageFolderDataModule or SyntheticDataModule"),
        ("--data.root", "DIR", "folder of the data, such as your photos"),
        ("--data.archive", "FILE", "zip or tar, with --data.md5 null for your own"),
        ("--data.batch_size", "N", "images per step and device"),
        ("--data.image_size", "N", "side of the images, in pixels"),
        ("--data.classes", "N", "the first N classes, or a list of ids"),
        ("--data.holdout", "X", "images for validation, such as 0.1 or 1000"),
        ("--data.augment+=CLASS", "", "one more augmentation"),
        ("--data.mix", "{}", "such as '{mixup: 0.2, cutmix: 1.0}'"),
        ("--data.balance", "B", "of unequal classes: none, loss or sampling"),
        ("--data.num_workers", "N", "processes that read batches"),
        ("--data.on_bad_images", "W", "skip leaves out images that can't be read"),
    ],
    "Model": [
        ("--model.arch", "NAME", "any ResNet of torchvision"),
        ("--model.weights", "W", "DEFAULT (ImageNet's), a file or a checkpoint"),
        ("--model.stem", "S", "small, half, pool or imagenet"),
        ("--model.width", "X", "factor on the channels"),
        ("--model.freeze", "[]", "such as [conv1,bn1,layer1]"),
        ("--model.optimizer", "CLASS", "such as SGD, AdamW, MuonSGD, Lookahead"),
        ("--model.optimizer.lr", "X", "learning rate"),
        ("--model.scheduler", "CLASS", "null keeps the learning rate constant"),
        ("--model.label_smoothing", "X", "0 to below 1"),
        ("--model.compile", "B", "true: torch.compile the network"),
    ],
}
EVALUATION = {
    "Run": [
        ("--ckpt_path", "WHICH", "a checkpoint, a run's folder, last or best"),
        ("--data.batch_size", "N", "images per step"),
        ("--model.tta", "B", "true: average each image with its mirror image"),
        ("--model.tta_shift", "N", "average it with itself shifted by N pixels"),
        ("--trainer.accelerator", "A", "cpu, gpu or auto"),
    ],
}
PREDICT = {
    "Run": [
        ("--data.images", "PATH...", "images, folders; default: the test images"),
        *EVALUATION["Run"],
    ]
}


def show(argv: Sequence[str]) -> bool:
    """Print the page that a command line asks for; False where it asks for a command to run.

    Exits with 2 where it is not understood.
    """
    if not argv or argv[0] in (*HELP, "help"):
        say(front_page())
    elif argv[0] == "list":
        say(list_page(argv[1:]))
    elif argv[0] not in COMMANDS:
        near = did_you_mean(argv[0], (*COMMANDS, "list"), listed=len(COMMANDS) + 1)
        hint = " The command comes first, then its options." if argv[0].startswith("-") else near
        print(f"error: There is no command {argv[0]!r}.{hint}", file=sys.stderr)
        sys.exit(2)
    elif any(argument in HELP for argument in argv):
        say(command_page(argv[0]))
    elif argv[-1] in CLASSES:
        say(f"{list_page([CLASSES[argv[-1]]])}\n\n{argv[-1]} CLASS shows the options of one.")
    else:
        return False
    return True


def front_page() -> str:
    """The commands, three examples, and where configs are."""
    commands = "\n".join(f"  {name:9} {what}" for name, what in WHAT.items())
    return f"""usage: {training_command("COMMAND")} [OPTION VALUE]...

{commands}
  list      What there is: {", ".join(LISTS)}.

Examples
  {training_command("fit", "--config", "quickstart.yaml")}
      about a minute on generated images
  {training_command("fit", "--config", "resnet50_aug.yaml")}
      ResNet-50 on Tiny ImageNet, which is downloaded first (248 MB)
  {training_command("test", "--ckpt_path", "best")}
      the newest run on the test images

Configs are in {CONFIGS}; all options, with their meaning, in defaults.yaml there.
{training_command("fit", "--help")} shows the options that people use."""


def command_page(command: str) -> str:
    """The options of a command that people use, with the defaults of configs/defaults.yaml."""
    topics = {"fit": FIT, "predict": PREDICT}.get(command, EVALUATION)
    defaults = {
        f"--{name.replace('data.init_args.', 'data.').replace('optimizer.init_args.', 'optimizer.')}": value
        for name, value in default_options().items()
    }
    lines = [f"usage: {training_command(command)} [OPTION VALUE]...", "", WHAT[command]]
    for topic, options in topics.items():
        lines += ["", topic]
        for option, value, meaning in options:
            default = _default(defaults.get(option)) if command == "fit" else ""
            lines.append(f"  {f'{option} {value}':28} {meaning}{default}")
    return "\n".join(
        [*lines, "", f"All options: {training_command(command, '--help-all')}, and configs/defaults.yaml."]
    )


def list_page(words: Sequence[str]) -> str:
    """What there is of a kind, a line each."""
    if len(words) != 1 or words[0] not in LISTS:
        near = did_you_mean(words[0], LISTS, listed=len(LISTS)) if words else f" Choose from: {', '.join(LISTS)}."
        print(f"error: list shows one kind of things.{near}", file=sys.stderr)
        sys.exit(2)
    rows = {"configs": _configs, "augmentations": _augmentations, "optimizers": _optimizers,
            "schedulers": _schedulers, "archs": _archs}[words[0]]()  # fmt: skip
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {what}".rstrip() for name, what in rows)


def _default(value: Any) -> str:
    return "" if value in (None, [], {}, "", False) or isinstance(value, dict) else f" ({value})"


def _configs() -> list[tuple[str, str]]:
    """The first line of each config's header."""
    rows = []
    for path in sorted(CONFIGS.rglob("*.yaml"), key=lambda path: (len(path.parts), path)):
        header = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("#").strip()
        rows.append((path.relative_to(CONFIGS).as_posix(), header))
    return rows


def _augmentations() -> list[tuple[str, str]]:
    from tiny_imagenet.data import augment

    kinds = [kind for name in augment.__all__ if isinstance(kind := getattr(augment, name), type)]
    return [(kind.__name__, _summary(kind)) for kind in kinds if not inspect.isabstract(kind)]


def _optimizers() -> list[tuple[str, str]]:
    import torch

    from tiny_imagenet import optim

    return _classes(torch.optim.Optimizer, torch.optim, optim)


def _schedulers() -> list[tuple[str, str]]:
    from torch.optim import lr_scheduler

    from tiny_imagenet import optim

    return _classes(lr_scheduler.LRScheduler, lr_scheduler, optim)


def _archs() -> list[tuple[str, str]]:
    from tiny_imagenet.models import known_archs

    return [(arch, "") for arch in known_archs()]


def _classes(base: type, *modules: Any) -> list[tuple[str, str]]:
    found = {name: kind for module in modules for name, kind in vars(module).items() if inspect.isclass(kind)}
    kinds = [kind for name, kind in sorted(found.items()) if issubclass(kind, base) and kind is not base]
    return [(kind.__name__, _summary(kind)) for kind in kinds if not kind.__name__.startswith("_")]


def _summary(kind: type) -> str:
    """The first sentence of a class's docstring, without the mark-up of Sphinx."""
    text = " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())
    return text.partition(". ")[0].rstrip(".").replace("`", "")
