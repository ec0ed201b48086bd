"""jsonargparse's errors, which list every type that was expected, as one line that says what to write instead."""

import inspect
import re
from collections.abc import Iterable, Mapping
from itertools import takewhile

from torchvision.transforms import v2

from tiny_imagenet.cli.allowed import refusal
from tiny_imagenet.errors import did_you_mean

KEY = re.compile(r'Parser key "([^"]+)"')
UNRECOGNIZED = re.compile(r"unrecognized arguments: (.*)")
NOT_ACCEPTED = re.compile(r"Option '([^']+)' is not accepted")
REFUSED = re.compile(r"Importing '([^']+)' is not allowed")
TAG = re.compile(r"constructor for the tag 'tag:yaml.org,2002:([^']+)'")
NO_CLASS = re.compile(r"Expected a dot import path string: (\S+)|module '[\w.]+' has no attribute '(\w+)'")
TYPE = re.compile(r"(?:Expected an? <class '(?:\w+\.)*|Not of type )(\w+)")
CHOICES = re.compile(r"Expected an? typing\.Literal\[(.*?)\]")
VALUE = re.compile(r"(?:Given|Got) value: (.+?)(?:\. Got value: .*)?$", re.MULTILINE)
NO_SPEC = re.compile(
    r"(?:a subclass spec|class_path and optionally init_args), but got (.+?)(?:\. Got value.*)?$", re.MULTILINE
)
NO_SUBCLASS = re.compile(r"'?([\w.]+)'? (?:does not correspond to|to be) a subclass of (?:<class ')?(\w+)")
NO_CONFIG = re.compile(r"Unable to load config ['\"]([^'\"]*)['\"]")
# The class stands before, or after where a function would do as well.
MISSING = re.compile(
    r"(?:class_path '(?P<before>[^']+)':\s+|callable class: )the following arguments are required: (?P<names>.+)"
    r"(?:(?!class_path=)[\s\S])*(?:class_path='(?P<after>[^']+)')?"
)
# A class_path that is not text, or init_args that are not a mapping; null as well.
NO_CLASS_SPEC = re.compile(r"'\w+' object has no attribute 'keys'|of type '\w+' is not .*iterable|unhashable type: ")
ABSTRACT = "Expected an instantiatable class, but is abstract"
AMBIGUOUS = re.compile(r"Multiple subclasses with name (\w+)\..*ambiguity: ([\w., ]+)\.$", re.MULTILINE)
NO_VALUE = re.compile(r"argument (--[\w.+-]+).*: expected one argument")
LONGEST = 1000  # characters of a message
EXAMPLES = {"monitor": "val/loss"}  # values of required arguments; the mode of callbacks is min by default

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
    **dict.fromkeys(("class_weights", "class_weight", "weighted_sampler"), "--data.balance loss or sampling"),
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
    where, error = _innermost(str(problem))
    # After a refusal in a file, jsonargparse raises another error; in another of several types it is not the fault.
    hidden = _with_causes(problem) if not REFUSED.search(str(problem)) else ""
    if match := REFUSED.search(error) or REFUSED.search(hidden):
        return refusal(where, match[1])
    if match := TAG.search(error):
        return f"A config has the YAML tag !!{match[1]}. Remove it: configs hold plain values and class paths only."
    if match := UNRECOGNIZED.search(error):
        wrong = match[1].split()[0].split("=")[0].lstrip("-")
        if hint := OTHER_TOOLS.get(wrong.lower().replace("-", "_")):
            return f"There is no option --{wrong}. Use {hint}"
        return f"There is no option --{wrong}.{did_you_mean(wrong, options, '--')}"
    if match := NO_VALUE.search(error):
        return f"{match[1]} needs a value."
    if match := NO_CONFIG.search(error):
        advice = {"model": " Set its options, such as --model.arch NAME.", "data": " Set its class: --data CLASS."}
        return f"{where} cannot be {match[1]!r}.{advice.get(where, '')}"
    if match := NOT_ACCEPTED.search(error):
        names = {option.rpartition(".")[2] for option in options}
        return f"{where} has no option {match[1]!r}.{did_you_mean(match[1], names)}"
    if match := MISSING.search(error):
        name, names = (match["before"] or match["after"]).rpartition(".")[2], match["names"]
        example = " ".join(f"--{where}.{each} {EXAMPLES.get(each, 'VALUE')}" for each in names.split(", "))
        return f"{where}: {name} needs {names}: {example}"
    return _wrong_value(where, error, classes) or " ".join(str(problem).split())[:LONGEST].rstrip()


def _innermost(error: str) -> tuple[str, str]:
    """The option that an error is about, by its dotted name, and the lines about it.

    jsonargparse tries one type after the other, and indents what each says; the first of the deepest is meant.
    """
    lines, keys, deepest, first = error.splitlines(), [], [], 0
    for number, line in enumerate(lines):
        if match := KEY.search(line):
            indent = _indent(line)
            keys = [*((before, key) for before, key in keys if before < indent and key != match[1]), (indent, match[1])]
            if len(keys) > len(deepest):
                deepest, first = keys, number
    if not deepest:
        return "", error
    rest = lines[first + 1 :]
    below = list(takewhile(lambda line: not line or _indent(line) > deepest[-1][0], rest)) or rest
    return ".".join(key for _, key in deepest), "\n".join([KEY.split(lines[first])[-1], *below])


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _wrong_value(where: str, error: str, classes: Mapping[str, Iterable[str]]) -> str | None:
    """What is wrong with the value of an option; None for an unknown kind of error."""
    value, no_class, named = VALUE.search(error), NO_CLASS.search(error), TYPE.findall(error)
    value = value[1].strip() if value else ""
    shown = "null" if value == "None" else repr(value)
    null = " or null" * ("NoneType" in named)
    types = ["list" if name == "Sequence" else name for name in dict.fromkeys(named) if name != "NoneType"]
    if ambiguous := AMBIGUOUS.search(error):
        return f"{where}: several classes are called {ambiguous[1]}. Give one in full: {ambiguous[2]}."
    if NO_CLASS_SPEC.search(error):
        return f"{where}: class_path must be the name of a class, and init_args must map its options to values."
    if ABSTRACT in error:
        name = value.rpartition(".")[2]
        return f"{where}: {name} is abstract. Choose from: {', '.join(sorted(classes.get(name, ())))}."
    wrong = no_class and (no_class[1] or no_class[2])
    if wrong and wrong not in ("null", "None") and not {"int", "float"} & set(types):
        hint = OTHER_TOOLS.get(wrong, "")
        return f"{where}: there is no class {wrong!r}.{f' Use {hint}' if where in hint else _nearest(wrong, classes)}"
    if choices := CHOICES.findall(error):
        return f"{where} must be one of {', '.join(choices)}{null}, not {shown}."
    if types == ["list"] and value != "None":
        ours = {name for names in classes.values() for name in names}
        return f"{where} is a list. To add one: --{where}+={value if value in ours else _torchvision_s(value) or value}"
    if types:
        return f"{where} must be {' or '.join(types)}{null}, not {shown}."
    if value == "None":
        return f"{where} can't be null: give a value, or leave it out."
    if match := NO_SUBCLASS.search(error):
        return f"{where}: {match[1]} is not a subclass of {match[2]}."
    if (match := NO_SPEC.search(error)) or "Not a valid subclass of" in error:
        return f"{where} takes classes and their options, not {(match[1] if match else value)[:LONGEST]}."
    return None


def _nearest(wrong: str, classes: Mapping[str, Iterable[str]]) -> str:
    if theirs := _torchvision_s(wrong):
        return f" torchvision's is {theirs}"
    name = wrong.rpartition(".")[2]
    known = [known for names in classes.values() for known in names]
    return did_you_mean(name, known) or did_you_mean(name, vars(v2))


def _torchvision_s(name: str) -> str | None:
    """The class path of a transform that is named alone; None if torchvision has no such class."""
    name = name.rpartition(".")[2]
    return f"{v2.__name__}.{name}" if inspect.isclass(getattr(v2, name, None)) else None


def _with_causes(error: BaseException | None) -> str:
    """The messages of an error and its causes: after a refusal in a file, jsonargparse raises another error."""
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(texts)
