"""The modules whose classes a config may name: one from a stranger must not run code of its choosing."""

import os
from collections.abc import Iterable

from tiny_imagenet.errors import UserError

# Prefixes: everything inside of them is allowed.
MODULES = (
    "torch.optim",
    "torchvision.transforms.v2",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.cli.ReduceLROnPlateau",
    "lightning.pytorch.loggers",
    "lightning.pytorch.plugins",
    "lightning.fabric.plugins",  # where some of lightning.pytorch's are defined
    "lightning.pytorch.profilers",
    "lightning.pytorch.strategies",
    "tiny_imagenet",
)

# Not an option: a sweep file sets options, and may come from a stranger as well.
VARIABLE = "TINY_IMAGENET_ALLOW"


def users_modules() -> list[str]:
    """The modules that the user adds, with `TINY_IMAGENET_ALLOW=my_package,other.module` in the environment.

    Raises:
        UserError: the variable holds something else than names of modules.
    """
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    for name in names:
        parts = name.split(".")
        # jsonargparse holds the settings that decide what is allowed, and refuses to be added itself.
        if parts[0] == "jsonargparse" or not all(part.isidentifier() for part in parts):
            raise UserError(f"{VARIABLE}: {name!r} is no module to allow. Write it as my_package,other.module.")
    return names


def refusal(where: str, name: str, modules: Iterable[str] = MODULES) -> str:
    """What to tell the user whose config names, at the key `where`, a class or function of another module."""
    return (
        f"{where}: a config may not name {name}, since a class can run any code. If it is yours, or you trust it, set "
        f"{VARIABLE}=MODULE in the environment (commas between several). Allowed without: {', '.join(modules)}."
    )
