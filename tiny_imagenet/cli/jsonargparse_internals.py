"""The private name of jsonargparse's that is used, and why."""

from jsonargparse import _loaders_dumpers

from tiny_imagenet.errors import UserError
from tiny_imagenet.run.bounded import MOST_LEVELS, require_bounded


def bound_yaml() -> None:
    """Let jsonargparse load no YAML that would take forever, from whichever file, option or text in a config.

    Its `set_loader` is not asked for the values of options that are numbers.
    """
    plain = _loaders_dumpers.get_yaml_default_loader()
    if not issubclass(plain, _Bounded):
        _loaders_dumpers.yaml_default_loader = type("Bounded", (_Bounded, plain), {})


class _Bounded:
    def __init__(self, text: str) -> None:
        if len(text) > MOST_LEVELS or "*" in text:  # anything else is harmless
            try:
                require_bounded(text)
            except ValueError as error:
                raise UserError(f"YAML in a config or option can't be read: {error}.") from None
        super().__init__(text)
