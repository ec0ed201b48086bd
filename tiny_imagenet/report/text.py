"""Text from runs as it is shown: printable, not too long, and each class under one name."""

from collections import Counter
from collections.abc import Mapping
from math import isnan

from tiny_imagenet.errors import legible
from tiny_imagenet.run.class_names import first_synonym

NAME_LENGTH = 28  # of a class
LONGEST = 300  # of any other text


def printable(text: object, longest: int = LONGEST) -> str:
    """Text that cannot steer a terminal: control characters are escaped, and what is too long ends in an ellipsis."""
    text = legible(str(text)[: longest + 1])
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return cut(shown, longest)


def cut(text: str, longest: int) -> str:
    """Text of at most `longest` characters; longer text ends in an ellipsis."""
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"


def with_error(text: str, error: float) -> str:
    """A number as text with its standard error, in as many decimals, "46.2 ± 0.3"; without it if that is NaN."""
    return text if isnan(error) else f"{text} ± {error:.{len(text.partition('.')[2]) or 2}f}"


def class_names(names: Mapping[str, str]) -> dict[str, str]:
    """Class id → the first synonym of its name, such as goldfish for "goldfish, Carassius auratus".

    Classes that share it, such as the two cranes of ImageNet, also get their ids.
    """
    first = {class_id: printable(first_synonym(class_id, str(name))) for class_id, name in names.items()}
    sharing = Counter(first.values())
    return {
        class_id: cut(name, NAME_LENGTH) if sharing[name] == 1 else f"{cut(name, NAME_LENGTH)} ({printable(class_id)})"
        for class_id, name in first.items()
    }
