"""Starting weights, by torchvision's name or from a file: load what fits, and report it."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model_weights

from tiny_imagenet.errors import UserError, first_line
from tiny_imagenet.run.checkpoint_claims import require_plausible
from tiny_imagenet.run.checkpoint_schema import weights_fault

# Layers that often do not fit, and may then start at random: first convolution and linear head.
REPLACEABLE = {"conv1", "fc"}

# torchvision's older weights lack it, and BatchNorm with a momentum does not read it.
OPTIONAL = {"num_batches_tracked"}

ZIP = b"PK\3\4"  # the beginning of a zip file

# Prefixes of what wrapped the network when it was saved: ImageClassifier, torch.compile, DistributedDataParallel.
WRAPPERS = re.compile(r"^((network|_orig_mod|module)\.)+")


@dataclass
class WeightsReport:
    """What was loaded, by names of layers such as `layer1.0.conv1`."""

    source: str
    loaded: list[str]
    kept: dict[str, str]  # layers of the network that keep their initial weights, and why
    unused: list[str]  # layers that only the source has

    def log(self, log: logging.Logger) -> None:
        """Log it in one message: a warning if anything but the first convolution and the head does not fit."""
        parts = [f"Weights of {self.source}: loaded {len(self.loaded)} of {len(self.loaded) + len(self.kept)} layers"]
        if self.kept:
            parts.append("initialised anew: " + ", ".join(f"{name} ({why})" for name, why in self.kept.items()))
        if self.unused:
            parts.append("not in this network: " + ", ".join(self.unused))
        level = logging.INFO if self.kept.keys() <= REPLACEABLE and not self.unused else logging.WARNING
        log.log(level, "%s.", "; ".join(parts))


def load_weights(network: nn.Module, weights: str, arch: str) -> WeightsReport:
    """Load all layers that fit the network, each as a whole, and report which.

    Args:
        weights: torchvision's name for weights of this arch (IMAGENET1K_V2, DEFAULT), downloaded once to TORCH_HOME; or
            a file with a state dict or a checkpoint of this project.
        arch: the torchvision model that the network is based on.

    Raises:
        UserError: the weights are unknown, cannot be downloaded or read, would run code, or do not fit in any layer.
    """
    enum = get_model_weights(arch)
    name = weights.removeprefix(f"{enum.__name__}.")
    if name in enum.__members__:
        state, source = _download(enum[name]), f"{arch} {name}"
    elif Path(weights).is_file():
        state, source = _read(Path(weights)), weights
    else:
        raise UserError(
            f"weights: {weights!r} is neither a file nor a name that torchvision knows for {arch}: "
            f"{', '.join(enum.__members__)}."
        )
    return _fill(network, state, source)


def _download(entry: WeightsEnum) -> dict[str, Tensor]:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / entry.url.rpartition("/")[2]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The processes of one machine download once.
        with FileLock(f"{file}.lock"):
            return entry.get_state_dict(progress=True, check_hash=True, map_location="cpu", weights_only=True)
    # OSError, http.client's errors, and RuntimeError for a wrong hash.
    except Exception as error:
        raise UserError(
            f"weights: could not download {entry.url} ({error}). Download it elsewhere and put it at {file}, or give "
            "the path of a file with weights."
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    try:
        with open(path, "rb") as file:
            is_zip = file.read(len(ZIP)) == ZIP
        if is_zip:  # as torch tells it from what versions before 1.6 wrote
            require_plausible(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    # The file may come from anyone, and torch.load raises many kinds on damaged files.
    except Exception as error:
        raise UserError(
            f"weights: {path} could not be read ({first_line(error)}). It must be a state dict saved with torch.save, "
            "or a checkpoint of this project. A file that could run code is refused."
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise UserError(f"weights: {path} is neither a state dict nor a checkpoint of this project.")
    if fault := weights_fault(state, "state_dict"):
        raise UserError(f"weights: {path} can't be used: {fault}.")
    return {WRAPPERS.sub("", key): value for key, value in state.items()}


def _fill(network: nn.Module, state: dict[str, Tensor], source: str) -> WeightsReport:
    # By layer: a bias without its weight, or a BatchNorm's counter without its statistics, is useless.
    ours, theirs = _by_layer(network.state_dict()), _by_layer(state)
    kept = {}
    for layer, tensors in ours.items():
        if layer not in theirs:
            kept[layer] = "missing"
        elif (theirs[layer].keys() ^ tensors.keys()) - OPTIONAL:
            kept[layer] = f"has {', '.join(theirs[layer])}"
        else:
            kept[layer] = "; ".join(
                f"{name} is {list(theirs[layer][name].shape)}, not {list(tensor.shape)}"
                for name, tensor in tensors.items()
                if name in theirs[layer] and theirs[layer][name].shape != tensor.shape
            )
    kept = {layer: why for layer, why in kept.items() if why}
    loaded = [layer for layer in ours if layer not in kept]
    if not loaded:
        layer, why = next(iter(kept.items()))
        raise UserError(
            f"weights: nothing in {source} fits this network (its {layer}: {why}). arch, width and blocks must be "
            "those that the weights were trained with."
        )
    network.load_state_dict(
        {f"{layer}.{name}": tensor for layer in loaded for name, tensor in theirs[layer].items()}, strict=False
    )
    return WeightsReport(source, loaded, kept, unused=[layer for layer in theirs if layer not in ours])


def _by_layer(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        layer, _, name = key.rpartition(".")
        layers.setdefault(layer, {})[name] = tensor
    return layers
