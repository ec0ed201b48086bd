"""The private parts of torchvision's ResNet that this project builds its networks from."""

import pytest
import torch
from torch import nn
from torchvision.models import get_model, resnet

from tiny_imagenet.models.torchvision_internals import make_stage, prepare_stages

ARCHS = ("resnet18", "resnet50", "resnext50_32x4d")


def stages_of(reference: resnet.ResNet) -> list[nn.Sequential]:
    return [reference.layer1, reference.layer2, reference.layer3, reference.layer4]


def rebuilt(reference: resnet.ResNet, channels: int = 64) -> list[nn.Sequential]:
    """The stages of a torchvision network, by the functions under test, with so many channels in the first."""
    assert hasattr(resnet.ResNet, "_make_layer"), "torchvision's ResNet has no _make_layer any more"
    network = resnet.ResNet.__new__(resnet.ResNet)
    nn.Module.__init__(network)
    prepare_stages(network, reference.groups, reference.base_width, channels)
    return [
        make_stage(network, type(theirs[0]), channels * 2**number, len(theirs), stride=2 if number else 1)
        for number, theirs in enumerate(stages_of(reference))
    ]


@pytest.mark.parametrize("arch", ARCHS)
def test_the_stages_have_torchvision_s_layers_parameters_and_shapes(arch):
    with torch.device("meta"):
        reference = get_model(arch)
        ours = rebuilt(reference)
    for number, (stage, theirs) in enumerate(zip(ours, stages_of(reference), strict=True), start=1):
        shapes = {key: value.shape for key, value in stage.state_dict().items()}
        assert shapes == {key: value.shape for key, value in theirs.state_dict().items()}, f"layer{number}"
        assert repr(stage) == repr(theirs), f"layer{number}: kernels, strides, groups"


@pytest.mark.parametrize("arch", ARCHS)
def test_a_stage_computes_what_torchvision_s_does(arch):
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        reference = get_model(arch)
        stage, theirs = rebuilt(reference)[1], reference.layer2
    state = {key: torch.rand(value.shape, generator=generator) / 10 for key, value in theirs.state_dict().items()}
    for module in (stage, theirs):
        module.load_state_dict(state, assign=True)
        module.eval()
    images = torch.randn(1, 64 * type(stage[0]).expansion, 4, 4, generator=generator)
    with torch.no_grad():
        assert torch.equal(stage(images), theirs(images))


def test_the_channels_are_ours_to_choose():
    with torch.device("meta"):
        reference = get_model("resnet50")
        stages = rebuilt(reference, channels=16)
    assert stages[0][0].conv1.in_channels == 16
    assert [stage[-1].conv3.out_channels for stage in stages] == [64, 128, 256, 512], "four times as many"
