"""jsonargparse's errors, which list every type that was expected, as one line that says what to write instead."""

import re
from collections.abc import Iterable, Mapping

from tiny_imagenet.cli.allowed import refusal
from tiny_imagenet.errors import did_you_mean

KEY = re.compile(r'Parser key "([^"]+)"')
UNRECOGNIZED = re.compile(r"unrecognized arguments: (.*)")
NOT_ACCEPTED = re.compile(r"Option '([^']+)' is not accepted")
REFUSED = re.compile(r"Importing '([^']+)' is not allowed")
TAG = re.compile(r"constructor for the tag 'tag:yaml.org,2002:([^']+)'")
NO_CLASS = re.compile(r"Expected a dot import path string: (\S+)")
WRONG_TYPE = re.compile(r"Expected an? (?:<class '(\w+)'>|typing\.(Literal\[.*?\]))\.? (?:Got value: (.*))")
ABSTRACT = "Expected an instantiatable class, but is abstract"
VALUE = re.compile(r"Given value: (.+)")


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
        return f"There is no option --{wrong}.{did_you_mean(wrong, options, '--')}"
    if match := NOT_ACCEPTED.search(error):
        names = {option.rpartition(".")[2] for option in options}
        return f"{where} has no option {match[1]!r}.{did_you_mean(match[1], names)}"
    if ABSTRACT in error and (match := VALUE.search(error)):
        name = match[1].strip().rpartition(".")[2]
        return f"{where}: {name} is abstract. Choose from: {', '.join(sorted(classes.get(name, ())))}."
    if (match := NO_CLASS.search(error)) and match[1] not in ("null", "None"):
        names = [name for names in classes.values() for name in names]
        return f"{where}: there is no class {match[1]!r}.{did_you_mean(match[1], names)}"
    if match := WRONG_TYPE.search(error):
        expected = match[1] or match[2].replace("Literal", "one of ")
        return f"{where} must be {expected}, not {match[3].rstrip()!r}."
    choices = re.findall(r"Expected an? typing\.Literal\[(.*?)\]", error)
    if choices and (match := VALUE.search(error)):
        return f"{where} must be one of {', '.join(choices)}, not {match[1].strip()!r}."
    types = [name for name in re.findall(r"Expected an? <class '(\w+)'>", error) if name != "NoneType"]
    if types and (match := VALUE.search(error)):
        return f"{where} must be {' or '.join(types)} or null, not {match[1].strip()!r}."
    return error


def _with_causes(error: BaseException | None) -> str:
    """The messages of an error and its causes: after a refusal in a file, jsonargparse raises another error."""
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(texts)
