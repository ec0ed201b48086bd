"""What a stranger's config may do: name classes of these modules, so that it runs no code of its choosing."""

import os
from collections.abc import Iterable

from jsonargparse import set_parsing_settings

from tiny_imagenet.cli.jsonargparse_internals import bound_yaml
from tiny_imagenet.errors import UserError, legible

# Everything inside these modules is allowed.
MODULES = (
    "torch.optim",
    "torchvision.transforms.v2",
    "lightning.Callback",  # how jsonargparse names the base class of lightning.pytorch.callbacks
    "lightning.pytorch.callbacks",
    "lightning.pytorch.cli.ReduceLROnPlateau",
    "lightning.pytorch.loggers",
    "lightning.pytorch.plugins",
    "lightning.fabric.plugins",  # where some plugins of lightning.pytorch are defined
    "lightning.pytorch.profilers",
    "lightning.pytorch.strategies",
    "tiny_imagenet",
)

# An environment variable, not an option: a sweep file sets options, and may come from a stranger too.
VARIABLE = "TINY_IMAGENET_ALLOW"


def restrict_configs() -> None:
    """Let configs name classes of allowed modules only, and hold no YAML that would take forever.

    A class's module is the one where it is defined.
    """
    bound_yaml()
    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=[*MODULES, *users_modules()],
        # Where a config may hold any object, a class is refused or stays a dictionary; it is never instantiated.
        validate_subclass_spec_in_any=True,
        instantiate_subclass_spec_in_any=False,
        # Lightning allows parts of a config to be URLs.
        config_read_mode_fsspec_enabled=False,
    )


def users_modules() -> list[str]:
    """The modules that the user adds, with `TINY_IMAGENET_ALLOW=my_package,other.module` in the environment.

    Raises:
        UserError: the variable holds something other than names of modules.
    """
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    for name in names:
        parts = name.split(".")
        # jsonargparse holds the settings that decide what is allowed, and does not allow itself.
        if parts[0] == "jsonargparse" or not all(part.isidentifier() for part in parts):
            raise UserError(f"{VARIABLE}: {name!r} is not the name of a module. Write it as my_package,other.module.")
    return names


def refusal(where: str, name: str, modules: Iterable[str] = MODULES) -> str:
    """The message for a config that names, at the key `where`, a class or function of a module not allowed."""
    return (
        f"{where}: a config may not name {legible(name)}, since a class can run any code. If it is yours, or you trust "
        f"it, set {VARIABLE}=MODULE in the environment (commas between several). Always allowed: {', '.join(modules)}."
    )
