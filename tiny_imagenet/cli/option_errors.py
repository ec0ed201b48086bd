"""jsonargparse's errors, which list every type that was expected, as one line that says what to write instead."""

import inspect
import re
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path

from tiny_imagenet.cli.allowed import refusal
from tiny_imagenet.errors import did_you_mean

KEY = re.compile(r'Parser key "([^"]+)"')
UNRECOGNIZED = re.compile(r"unrecognized arguments: (.*)")
NOT_ACCEPTED = re.compile(r"Option '([^']+)' is not accepted")
REFUSED = re.compile(r"Importing '([^']+)' is not allowed")
TAG = re.compile(r"constructor for the tag 'tag:yaml.org,2002:([^']+)'")
NO_CLASS = re.compile(r"Expected a dot import path string: (\S+)")
WRONG_TYPE = re.compile(r"Expected an? (?:<class '(\w+)'>|typing\.(Literal\[.*?\]))\.? (?:Got value: (.*))")
NO_CONFIG = re.compile(r"Unable to load config '([^']*)'")
ABSTRACT = "Expected an instantiatable class, but is abstract"
NO_VALUE = re.compile(r"argument (--[\w.+-]+).*: expected one argument")
NESTED = re.compile(r"Given value: NestedArg\(key='[^']*', val='([\w.]+)'\)")
PIP = re.compile(r"pip install [^`'\"\n]*(?:'[^']+')?")
PACKAGE = Path(__file__).parents[1]
VALUE = re.compile(r"Given value: (.+)")

# What options of other tools are called here.
OTHER_TOOLS = {
    **dict.fromkeys(("lr", "learning_rate"), "--model.optimizer.lr"),
    **dict.fromkeys(("epochs", "num_epochs", "max_epochs", "n_epochs"), "--trainer.max_epochs"),
    **dict.fromkeys(("batch_size", "batch", "bs"), "--data.batch_size"),
    **dict.fromkeys(("gpus", "num_gpus", "devices", "ngpu"), "--trainer.devices N --trainer.strategy ddp"),
    **dict.fromkeys(("device", "cpu", "gpu", "accelerator"), "--trainer.accelerator cpu, gpu or auto"),
    **dict.fromkeys(("workers", "num_workers", "j"), "--data.num_workers"),
    **dict.fromkeys(("img_size", "image_size", "imgsz", "size", "input_size", "resolution"), "--data.image_size"),
    **dict.fromkeys(("data_dir", "data_path", "dataset", "root", "data_root"), "--data.root DIR, and --data CLASS"),
    **dict.fromkeys(("pretrained", "weights"), "--model.weights DEFAULT --data.normalize imagenet"),
    **dict.fromkeys(("resume", "checkpoint", "ckpt", "resume_from_checkpoint"), "--ckpt_path last"),
    **dict.fromkeys(("arch", "net", "backbone"), "--model.arch"),
    **dict.fromkeys(("optimizer", "opt"), "--model.optimizer"),
    **dict.fromkeys(("scheduler", "sched", "lr_scheduler"), "--model.scheduler"),
    **dict.fromkeys(("weight_decay", "wd"), "--model.optimizer.weight_decay"),
    **dict.fromkeys(("momentum",), "--model.optimizer.momentum"),
    **dict.fromkeys(("label_smoothing", "smoothing"), "--model.label_smoothing"),
    **dict.fromkeys(("mixup", "cutmix"), "--data.mix '{mixup: 0.2, cutmix: 1.0}'"),
    **dict.fromkeys(("aug", "augment", "transforms", "aa", "auto_augment"), "--data.augment+=TrivialAugmentWide"),
    **dict.fromkeys(("amp", "fp16", "bf16", "precision", "half"), "--trainer.precision 16-mixed or bf16-mixed"),
    **dict.fromkeys(("seed", "manual_seed"), "--seed_everything"),
    **dict.fromkeys(("output", "out", "output_dir", "save_dir", "log_dir", "logdir"), "--trainer.default_root_dir"),
    **dict.fromkeys(("grad_accum", "accumulate", "accumulation_steps"), "--trainer.accumulate_grad_batches"),
    **dict.fromkeys(("clip_grad", "max_norm", "grad_clip"), "--trainer.gradient_clip_val"),
    **dict.fromkeys(("ema", "model_ema"), "--trainer.callbacks+=EMA"),
    **dict.fromkeys(("num_classes", "classes"), "--data.classes; the network follows the data"),
    **dict.fromkeys(("val_split", "valid_size", "validation_split"), "--data.holdout"),
    **dict.fromkeys(("freeze",), "--model.freeze '[conv1, bn1, layer1]'"),
    **dict.fromkeys(("debug", "dry_run", "fast_dev_run"), "--trainer.fast_dev_run true"),
    **dict.fromkeys(("experiment", "project", "run_name"), "--name"),
    **dict.fromkeys(("evaluate", "eval"), "the command `validate` or `test`"),
}


def option_error_message(problem: Exception, options: Iterable[str], classes: Mapping[str, Iterable[str]]) -> str:
    """What is wrong with a command line or config, and the nearest right word.

    Args:
        problem: jsonargparse's error.
        options: dotted names of the options that there are, such as `model.arch`.
        classes: names of the classes that a config may name, by their base class.

    Returns:
        One line; for an unknown kind of error, its own message.
    """
    error = str(problem)
    where = ".".join(key for key in KEY.findall(error))
    if match := REFUSED.search(_with_causes(problem)):
        return refusal(where, match[1])
    if match := TAG.search(error):
        return (
            f"A config has the YAML tag !!{match[1]}, which could run code. Configs hold plain values and class paths."
        )
    if match := UNRECOGNIZED.search(error):
        wrong = match[1].split()[0].split("=")[0].lstrip("-")
        if hint := OTHER_TOOLS.get(wrong.lower().replace("-", "_")):
            return f"There is no option --{wrong}. Use {hint}"
        return f"There is no option --{wrong}.{did_you_mean(wrong, options, '--')}"
    if match := NO_VALUE.search(error):
        return f"{match[1]} needs a value."
    if match := NO_CONFIG.search(error):
        advice = {"model": " Set its options, such as --model.arch NAME.", "data": " Set its class: --data CLASS."}
        where = KEY.findall(error)[0]
        return f"{where} cannot be {match[1]!r}.{advice.get(where, '')}"
    if match := NOT_ACCEPTED.search(error):
        names = {option.rpartition(".")[2] for option in options}
        return f"{where} has no option {match[1]!r}.{did_you_mean(match[1], names)}"
    if ABSTRACT in error and (match := VALUE.search(error)):
        name = match[1].strip().rpartition(".")[2]
        return f"{where}: {name} is abstract. Choose from: {', '.join(sorted(classes.get(name, ())))}."
    if (match := NO_CLASS.search(error)) and match[1] not in ("null", "None"):
        return f"{where}: there is no class {match[1]!r}.{_nearest_class(match[1], classes)}"
    if match := WRONG_TYPE.search(error):
        expected = match[1] or match[2].replace("Literal", "one of ")
        return f"{where} must be {expected}, not {match[3].rstrip()!r}."
    choices = re.findall(r"Expected an? typing\.Literal\[(.*?)\]", error)
    if choices and (match := VALUE.search(error)):
        return f"{where} must be one of {', '.join(choices)}, not {match[1].strip()!r}."
    types = re.findall(r"Expected an? <class '(\w+)'>", error)
    null, types = "NoneType" in types, [name for name in types if name != "NoneType"]
    if types == ["list"] and (match := VALUE.search(error)):
        return f"{where} is a list. To add one: --{where}+={match[1].strip()}"
    if types and (match := VALUE.search(error)):
        return f"{where} must be {' or '.join(types)}{' or null' * null}, not {match[1].strip()!r}."
    if match := NESTED.search(error):
        return f"{where}: there is no class {match[1]!r}.{_nearest_class(match[1], classes)}"
    return error


def constructor_error_message(error: BaseException) -> str | None:
    """What a class that a config names could not be made from; None where this project's own code raised the error."""
    text, where = _with_causes(error), ".".join(dict.fromkeys(KEY.findall(str(error)))) or "config"
    if match := PIP.search(text):
        return f"{where}: a class needs a package that is not installed: {match[0].strip()}"
    root = _root(error)
    return None if str(PACKAGE) in _raised_in(root) else f"{where}: a class refuses its options: {_first_line(root)}"


def optimizer_error_message(error: BaseException) -> str | None:
    """What torch's optimizers and schedules say of their options, some in the first step; None for other errors."""
    root = _root(error)
    for file, option in (("torch/optim/lr_scheduler.py", "model.scheduler"), ("torch/optim/", "model.optimizer")):
        if file in _raised_in(root).replace("\\", "/"):
            return f"{option}: {_first_line(root)}"
    return None


def _root(error: BaseException) -> BaseException:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return error


def _raised_in(error: BaseException) -> str:
    """The file whose code raised an error."""
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].filename if frames else ""


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0][:300] or type(error).__name__


def _nearest_class(wrong: str, classes: Mapping[str, Iterable[str]]) -> str:
    from torchvision.transforms import v2  # loaded already, with the augmentations

    name = wrong.rpartition(".")[2]
    if inspect.isclass(getattr(v2, name, None)):
        return f" torchvision's is torchvision.transforms.v2.{name}"
    known = [known for names in classes.values() for known in names]
    return did_you_mean(name, known) or did_you_mean(name, vars(v2))


def _with_causes(error: BaseException | None) -> str:
    """The messages of an error and its causes: after a refusal in a file, jsonargparse raises another error."""
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(texts)
