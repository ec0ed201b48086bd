"""A run's config.yaml: what it keeps of a parsed config, and when it is written."""

import copy
from enum import Enum
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback

from tiny_imagenet.cli.loggers import write_ids
from tiny_imagenet.files import replace_text
from tiny_imagenet.run.folder import CONFIG
from tiny_imagenet.run.protocol import write_protocol
from tiny_imagenet.threads import write_threads

# What config.yaml keeps: all that defines a run, and not where it is.
SECTIONS = ("seed_everything", "trainer", "model", "data", "checkpoint")


class RunConfig(SaveConfigCallback):
    """Writes `config.yaml`, `protocol.json` and `threads.json` of a training into its folder."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Nothing yet: a checkpoint that is then refused must not change the config of its run."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            text = yaml.safe_dump(sections(self.parser, self.config), sort_keys=False)
            run, data = Path(trainer.default_root_dir), trainer.datamodule
            replace_text(run / CONFIG, text)
            write_ids(run, trainer.loggers)
            write_threads(run, torch.get_num_threads())
            write_protocol(run, len(data.sets["train"]), len(data.sets["val"]), data.validates_on_test)


def sections(parser: LightningArgumentParser, config: Any) -> dict[str, Any]:
    """The sections of a parsed config that config.yaml keeps, as plain values."""
    config = copy.deepcopy(config)
    _enums_to_text(config)
    dumped = yaml.safe_load(parser.dump(config, skip_unset=False, format="yaml"))
    for place in ("logger", "default_root_dir"):
        dumped["trainer"].pop(place)
    return {name: dumped[name] for name in SECTIONS}


def _enums_to_text(config: Any) -> None:
    """Replace text enumerations by their text, in place: as the default of an option of type str, YAML refuses them."""
    items = config.items() if isinstance(config, dict) else vars(config).items() if hasattr(config, "clone") else ()
    for name, value in list(items):
        if isinstance(value, Enum) and isinstance(value, str):  # jsonargparse writes others by name
            config[name] = value.value
        for each in value if isinstance(value, list) else [value]:
            _enums_to_text(each)
