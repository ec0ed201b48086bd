"""Every private name of torchvision's that this project uses, and why.

tests/models/test_resnet.py compares the networks that they build with torchvision's. Tried with torchvision 0.29.
"""

from torch import nn
from torchvision.models import resnet


def prepare_stages(network: resnet.ResNet, groups: int, base_width: int, channels: int) -> None:
    """Set what torchvision's `_make_layer` reads, without its constructor, which fixes stem and channels.

    Args:
        channels: of the stem.
    """
    network._norm_layer = nn.BatchNorm2d
    network.groups, network.base_width, network.dilation = groups, base_width, 1
    network.inplanes = channels


def make_stage(
    network: resnet.ResNet, block: type[nn.Module], channels: int, blocks: int, stride: int
) -> nn.Sequential:
    """The next stage of residual blocks, as torchvision builds it."""
    return network._make_layer(block, channels, blocks, stride=stride)
