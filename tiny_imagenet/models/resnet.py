"""torchvision's ResNets with a choice of stem, width, depth, dropout, starting weights and frozen layers."""

import bisect
import logging
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import get_model, get_model_builder, list_models, resnet

from tiny_imagenet.errors import UserError, did_you_mean
from tiny_imagenet.models.torchvision_internals import make_stage, prepare_stages
from tiny_imagenet.models.weights import load_weights

log = logging.getLogger(__name__)

Stem = Literal["imagenet", "pool", "half", "small"]

# How the first block of a stage halves its feature maps: by a 3×3 convolution of stride 2, or by one of stride 1 that
# max-pooling follows.
Downsampling = Literal["stride", "max_pool"]

# The factor by which the stem and the first three of four stages reduce an image's side.
REDUCTION: dict[Stem, int] = {"imagenet": 16, "pool": 8, "half": 8, "small": 4}

# Channels of the stem and the first stage; the later stages have 2, 4 and 8 times as many.
CHANNELS = 64

# Far above what any machine trains. To count the parameters of such a network takes seconds, even without its memory.
MOST_WIDTH, MOST_BLOCKS = 100, 250


def build_resnet(
    arch: str,
    num_classes: int,
    *,
    stem: Stem = "imagenet",
    width: float = 1.0,
    blocks: Sequence[int] | None = None,
    dropout: float = 0.0,
    weights: str | None = None,
    freeze: Sequence[str] = (),
    max_parameters: int | None = None,
    zero_init_residual: bool = False,
    downsampling: Downsampling = "stride",
) -> "ResNet":
    """Build a ResNet for normalised images [B, 3, H, W] that returns logits [B, num_classes].

    Millions of parameters with 200 classes and the small stem, by `width`:

    | arch             |     1 |   0.5 |  0.25 |
    |------------------|-------|-------|-------|
    | resnet18         | 11.27 |  2.85 |  0.73 |
    | resnet50         | 23.91 |  6.09 |  1.58 |
    | resnet152        | 58.55 | 14.78 |  3.76 |
    | resnext50_32x4d  | 23.38 |  5.97 |  1.55 |
    | wide_resnet50_2  | 67.24 | 16.93 |  4.29 |

    Args:
        arch: any of torchvision's ResNets: resnet18 to resnet152, resnext*, wide_resnet*.
        stem: imagenet (7×7 stride 2 and max-pooling), pool (3×3 and max-pooling), half (3×3 stride 2) or small (3×3).
        width: factor on the channels, which are rounded to a multiple of 8, at least 8.
        blocks: residual blocks in each of three or four stages; None takes those of `arch`.
        dropout: fraction of the features to drop before the linear head in training, 0 to below 1.
        weights: torchvision's name for weights of this `arch`, or a file (see `load_weights`); None starts at random.
        freeze: names of children whose parameters and BatchNorm statistics stay fixed.
        max_parameters: refuse a network with more.
        zero_init_residual: start each residual block as the identity (https://arxiv.org/abs/1706.02677).
        downsampling: how a stage halves its feature maps: stride (a 3×3 convolution of stride 2) or max_pool (one of
            stride 1, then max-pooling: four times the arithmetic there). Parameters are the same.

    Raises:
        UserError: an option is wrong, the network is too large, or `weights` can't be loaded.
    """
    require_known(arch)
    if not 0 <= dropout < 1:
        raise UserError(f"dropout must be a fraction from 0 to below 1, not {dropout}.")
    if not 0 < width <= MOST_WIDTH:
        raise UserError(f"width must be a factor above 0 and up to {MOST_WIDTH}, not {width}.")
    if blocks is not None and (len(blocks) not in (3, 4) or not 1 <= min(blocks) <= max(blocks) <= MOST_BLOCKS):
        raise UserError(
            f"blocks must be three or four numbers from 1 to {MOST_BLOCKS}, such as [2, 1, 1, 1], not {list(blocks)}."
        )

    for option, value, choices in (("stem", stem, Stem), ("downsampling", downsampling, Downsampling)):
        if value not in (known := get_args(choices)):
            raise UserError(f"{option} must be {', '.join(known[:-1])} or {known[-1]}, not {value!r}.")

    def on_meta(width: float) -> ResNet:
        # Without memory, it takes milliseconds to know shapes and counts; initialisation happens once, below.
        with torch.device("meta"):
            return ResNet(
                get_model(arch),
                num_classes,
                stem=stem,
                width=width,
                blocks=blocks,
                dropout=dropout,
                downsampling=downsampling,
            )

    network = on_meta(width)
    parameters = _count(network)
    if max_parameters is not None and parameters > max_parameters:
        hundredths = range(1, int(width * 100) + 1)
        fitting = bisect.bisect_right(hundredths, max_parameters, key=lambda width: _count(on_meta(width / 100)))
        advice = f"The largest width that fits is {fitting / 100:.2f}." if fitting else "No width makes it fit."
        raise TooLarge(
            f"{arch} at width {width:g} has {parameters:,} parameters, more than max_parameters={max_parameters:,}. "
            + advice,
            parameters,
        )
    # Always on the CPU, so that a seed gives the same network on every machine.
    _initialise(network.to_empty(device="cpu"), zero_init_residual)
    network.freeze(freeze)
    if weights is not None:
        report = load_weights(network, weights, arch)
        report.log(log)
        random = sorted({name.partition(".")[0] for name in report.kept} & set(freeze))
        if random:
            log.warning("Frozen, but not in the weights, so they stay random: %s.", ", ".join(random))
    return network


class TooLarge(UserError):
    """A network has more than `max_parameters`; `parameters` is how many."""

    def __init__(self, message: str, parameters: int) -> None:
        super().__init__(message)
        self.parameters = parameters


class ResNet(resnet.ResNet):
    """A torchvision ResNet with its blocks, forward pass and parameter names, but any stem, width and depth.

    Args:
        reference: a torchvision ResNet with the kind and number of blocks, groups and base width to use.
        others: see `build_resnet`.
    """

    def __init__(
        self,
        reference: resnet.ResNet,
        num_classes: int,
        *,
        stem: Stem,
        width: float,
        blocks: Sequence[int] | None,
        dropout: float,
        downsampling: Downsampling,
    ) -> None:
        # Not the parent's constructor, which fixes the channels and the stem.
        nn.Module.__init__(self)
        stages = [reference.layer1, reference.layer2, reference.layer3, reference.layer4]
        block = type(reference.layer1[0])
        blocks = [len(stage) for stage in stages] if blocks is None else blocks
        base_width = reference.base_width
        channels = [_scaled(CHANNELS * 2**stage, width, base_width) for stage in range(len(blocks))]
        prepare_stages(self, reference.groups, base_width, channels[0])

        kernel, stride = {"imagenet": (7, 2), "pool": (3, 1), "half": (3, 2), "small": (3, 1)}[stem]
        self.conv1 = nn.Conv2d(3, channels[0], kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.relu = nn.ReLU(inplace=True)
        pooled = stem in ("imagenet", "pool")
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if pooled else nn.Identity()
        for stage, (planes, count) in enumerate(zip(channels, blocks, strict=True)):
            blocks_of_stage = make_stage(self, block, planes, count, stride=1 if stage == 0 else 2)
            if stage > 0:
                _set_downsampling(blocks_of_stage[0], downsampling)
            self.add_module(f"layer{stage + 1}", blocks_of_stage)
        if len(blocks) == 3:
            self.layer4 = nn.Identity()
        # Dropout is here, not around `fc`, so that the parameters of `fc` keep torchvision's names.
        self.avgpool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Dropout(dropout))
        self.fc = nn.Linear(channels[-1] * block.expansion, num_classes)
        self.frozen: tuple[str, ...] = ()

    def freeze(self, names: Sequence[str]) -> None:
        """Stop training the named children, and keep them in eval mode even during training.

        Raises:
            UserError: a name is not a child with parameters.
        """
        known = [name for name, child in self.named_children() if any(True for _ in child.parameters())]
        for name in names:
            if name not in known:
                raise UserError(f"freeze: the network has no part {name!r}. Its parts are {', '.join(known)}.")
            self.get_submodule(name).requires_grad_(False).eval()
        self.frozen = tuple(names)

    def unfreeze(self, names: Sequence[str]) -> None:
        """Train children that were frozen."""
        self.frozen = tuple(name for name in self.frozen if name not in names)
        for name in names:
            self.get_submodule(name).requires_grad_(True).train(self.training)

    def train(self, mode: bool = True) -> "ResNet":
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self


def _set_downsampling(block: nn.Module, downsampling: Downsampling) -> None:
    """Let the first block of a stage halve its feature maps in the way that was chosen."""
    for name, layer in list(block.named_children()):
        if downsampling == "max_pool" and isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
            sizes = layer.in_channels, layer.out_channels, layer.kernel_size
            setattr(block, name, _PooledConv(*sizes, padding=layer.padding, groups=layer.groups, bias=False))
    shortcut = block.downsample
    if shortcut[0].in_channels == 8:
        shortcut[0] = _EverySecondPixel(8, shortcut[0].out_channels, 1, stride=2, bias=False)


class _PooledConv(nn.Conv2d):
    """A convolution and max-pooling, which halves the maps as a stride of 2 does: rounded up."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(super().forward(images), 2, ceil_mode=True)


class _EverySecondPixel(nn.Conv2d):
    """A 1×1 convolution of stride 2, as one of stride 1 on the pixels that it reads.

    With 8 channels in channels-last memory, oneDNN's weight gradient of a stride of 2 writes beyond its memory
    (torch 2.15, AVX-512, float32 and bf16): on large feature maps, and if several threads share the batch unevenly.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return F.conv2d(images[:, :, ::2, ::2], self.weight)


def known_archs() -> list[str]:
    """The names of torchvision's ResNets."""
    return [name for name in list_models() if get_model_builder(name).__module__ == resnet.__name__]


def require_known(arch: str) -> None:
    """Raise UserError if `arch` is not one of torchvision's ResNets."""
    if arch not in (known := known_archs()):
        raise UserError(f"There is no ResNet {arch!r}.{did_you_mean(arch, known, listed=len(known))}")


def _scaled(channels: int, width: float, base_width: int) -> int:
    # Multiples of 8 suit tensor cores. Each group of a Bottleneck needs channels × base_width / 64 of at least 1.
    return max(8, CHANNELS // base_width, int(channels * width / 8 + 0.5) * 8)


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _initialise(network: ResNet, zero_init_residual: bool) -> None:
    """Initialise all parameters and buffers with torchvision's distributions."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d | nn.Linear):
            module.reset_parameters()
    if zero_init_residual:
        for module in network.modules():
            if isinstance(module, resnet.Bottleneck):
                nn.init.zeros_(module.bn3.weight)
            elif isinstance(module, resnet.BasicBlock):
                nn.init.zeros_(module.bn2.weight)
