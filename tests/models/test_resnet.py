"""The networks against torchvision's, and their options one by one."""

import math
import re
import subprocess
import sys

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from tests.helpers.networks import small
from tiny_imagenet.errors import UserError
from tiny_imagenet.models import ResNet, build_resnet

ARCHS = [name for name in torchvision.models.list_models() if re.match(r"(wide_)?res(net|next)\d", name)]


def on_meta(arch: str, classes: int = 1000, **options) -> ResNet:
    options = {"stem": "imagenet", "width": 1.0, "blocks": None, "dropout": 0.0, "downsampling": "stride", **options}
    with torch.device("meta"):
        return ResNet(torchvision.models.get_model(arch), classes, **options)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# Against torchvision


def test_there_are_archs():
    assert {"resnet18", "resnet152", "resnext101_64x4d", "wide_resnet101_2"} <= set(ARCHS)


@pytest.mark.parametrize("arch", ARCHS)
def test_state_is_torchvisions(arch):
    with torch.device("meta"):
        theirs = torchvision.models.get_model(arch).state_dict()
    ours = on_meta(arch).state_dict()
    assert [(key, value.shape) for key, value in ours.items()] == [(key, value.shape) for key, value in theirs.items()]


@pytest.mark.parametrize(
    ("arch", "block", "options"),
    [
        ("resnet18", BasicBlock, {}),
        ("resnet50", Bottleneck, {}),
        ("resnext50_32x4d", Bottleneck, {"groups": 32, "width_per_group": 4}),
        ("wide_resnet50_2", Bottleneck, {"width_per_group": 128}),
    ],
)
def test_output_is_torchvisions(arch, block, options):
    theirs = torchvision.models.ResNet(block, [1, 2, 1, 1], num_classes=7, **options)
    ours = build_resnet(arch, 7, blocks=[1, 2, 1, 1])
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert ours(images).equal(theirs(images))  # while training, and then with the statistics of that
        assert ours.eval()(images).equal(theirs.eval()(images))


def test_initial_values_are_torchvisions_distributions():
    torch.manual_seed(0)
    ours = build_resnet("resnet18", 1000).state_dict()
    for key, theirs in torchvision.models.resnet18().state_dict().items():
        if theirs.ndim < 2 and key != "fc.bias":
            assert ours[key].equal(theirs), key  # BatchNorm
        else:
            assert ours[key].std().item() == pytest.approx(theirs.std().item(), rel=0.1), key
            assert abs(ours[key].mean().item()) < 0.05 * theirs.std().item() + 1e-3, key


def test_a_seed_gives_one_network_whatever_the_ambient_device():
    torch.manual_seed(3)
    first = small().state_dict()
    torch.manual_seed(3)
    with torch.device("meta"):
        second = small().state_dict()
    assert all(second[key].equal(value) for key, value in first.items())


def test_unknown_arch_names_the_nearest():
    with pytest.raises(UserError, match=r"'resnet_50'. Did you mean resnet50\?"):
        build_resnet("resnet_50", 10)
    with pytest.raises(UserError, match="'alexnet'. Choose from: ") as caught:
        build_resnet("alexnet", 10)
    assert all(arch in str(caught.value) for arch in ARCHS)


# Options


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 16), ("pool", 32), ("half", 32), ("small", 64)])
def test_stem(stem, side):
    network, seen = small(stem=stem), []
    network.layer1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    with torch.no_grad():
        network(torch.randn(1, 3, 64, 64))
    assert seen == [(1, 8, side, side)]


def expected_parameters(planes: list[int], blocks: list[int], bottleneck: bool, classes: int) -> int:
    """Small stem, counted by the figures of the paper's table 1 (https://arxiv.org/abs/1512.03385)."""
    conv_bn = lambda kernel, inputs, outputs: kernel**2 * inputs * outputs + 2 * outputs  # noqa: E731
    total, inputs = conv_bn(3, 3, planes[0]), planes[0]
    for stage, (width, number) in enumerate(zip(planes, blocks, strict=True)):
        for block in range(number):
            outputs = 4 * width if bottleneck else width
            if bottleneck:
                total += conv_bn(1, inputs, width) + conv_bn(3, width, width) + conv_bn(1, width, outputs)
            else:
                total += conv_bn(3, inputs, width) + conv_bn(3, width, width)
            if block == 0 and (stage > 0 or inputs != outputs):
                total += conv_bn(1, inputs, outputs)
            inputs = outputs
    return total + inputs * classes + classes


@pytest.mark.parametrize(
    ("arch", "width", "blocks", "planes"),
    [
        ("resnet18", 0.5, [2, 2, 2, 2], [32, 64, 128, 256]),
        ("resnet18", 0.25, [2, 1, 1, 1], [16, 32, 64, 128]),
        ("resnet18", 0.7, [1, 2, 3], [48, 88, 176]),  # 44.8, 89.6, 179.2
        ("resnet34", 0.01, [3, 4, 6, 3], [8, 8, 8, 8]),
        ("resnet50", 0.5, [3, 4, 6, 3], [32, 64, 128, 256]),
        ("resnet50", 1.25, [1, 1, 1, 1], [80, 160, 320, 640]),
    ],
)
def test_width_and_blocks(arch, width, blocks, planes):
    network = on_meta(arch, 9, stem="small", width=width, blocks=blocks)
    assert count(network) == expected_parameters(planes, blocks, arch == "resnet50", classes=9)


@pytest.mark.parametrize("blocks", [[1, 1, 1], [1, 1, 1, 1]])
@pytest.mark.parametrize("arch", ["resnet18", "resnext50_32x4d", "resnext101_64x4d", "wide_resnet50_2"])
def test_the_narrowest_network_runs(arch, blocks):
    assert small(arch, width=0.01, blocks=blocks)(torch.randn(2, 3, 32, 32)).shape == (2, 5)


def test_table_in_the_docstring():
    rows = re.findall(r"\| (\w+) +\| +([\d.]+) \| +([\d.]+) \| +([\d.]+) \|\n", build_resnet.__doc__)[1:]
    assert len(rows) == 5
    for arch, *millions in rows:
        for width, figure in zip((1, 0.5, 0.25), millions, strict=True):
            assert f"{count(on_meta(arch, 200, stem='small', width=width)) / 1e6:.2f}" == figure


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "resnext50_32x4d"])
def test_max_parameters_names_the_largest_width_that_fits(arch):
    size = lambda width: count(on_meta(arch, 10, width=width))  # noqa: E731
    with pytest.raises(UserError, match=f"{size(1.0):,} parameters.*5,000,000") as caught:
        build_resnet(arch, 10, max_parameters=5_000_000)
    width = float(re.search(r"width that fits is (\d\.\d\d)\.", str(caught.value))[1])
    assert size(width) <= 5_000_000 < size(width + 0.01)
    assert count(build_resnet(arch, 10, width=width, max_parameters=5_000_000)) == size(width)


def test_max_parameters_below_every_width():
    with pytest.raises(UserError, match="No width makes it fit"):
        build_resnet("resnet18", 10, max_parameters=1000)


def test_dropout_acts_on_the_features_in_training_only():
    network, features = small(width=1, dropout=0.3), []
    assert network.state_dict().keys() == torchvision.models.resnet18().state_dict().keys()
    network.avgpool[0].register_forward_hook(lambda *_: torch.ones(16, 512, 1, 1))
    network.fc.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    images = torch.randn(16, 3, 8, 8)
    network.train()(images)
    network.eval()(images)
    training, evaluation = features
    assert (training == 0).float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert training.max().item() == pytest.approx(1 / 0.7)
    assert evaluation.equal(torch.ones(16, 512))


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_zero_init_residual_makes_blocks_the_identity(arch):
    for zero_init_residual in (True, False):
        network = small(arch, zero_init_residual=zero_init_residual)
        features = torch.randn(2, network.layer1[1].conv1.in_channels, 8, 8)
        assert network.layer1[1](features).equal(features.relu()) == zero_init_residual


def test_frozen_parts_never_change():
    network = small(freeze=["conv1", "bn1", "layer1"])
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.eval().train()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    network(torch.randn(4, 3, 32, 32)).square().mean().backward()
    optimizer.step()
    for key, value in network.state_dict().items():
        assert value.equal(before[key]) == key.startswith(("conv1", "bn1", "layer1")), key
    assert network.layer2.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"freeze": ["layer1", "layer5"]}, "no part 'layer5'.*conv1, bn1, layer1, layer2, layer3, layer4, fc"),
        ({"freeze": ["relu"]}, "no part 'relu'"),
        ({"freeze": ["layer4"], "blocks": [1, 1, 1]}, "no part 'layer4'"),
        ({"blocks": [2, 2]}, r"three or four numbers from 1 to 250.*\[2, 2\]"),
        ({"blocks": [2, 0, 1]}, "three or four numbers from 1 to 250"),
        ({"blocks": []}, "three or four numbers from 1 to 250"),
        ({"width": 0.0}, "width must be a factor above 0 and up to 100, not 0.0"),
        ({"width": math.nan}, "width must be a factor above 0 and up to 100, not nan"),
        ({"width": math.inf}, "width must be a factor above 0 and up to 100, not inf"),
        ({"dropout": 1.0}, "dropout must be a fraction from 0 to below 1, not 1.0"),
        ({"stem": "trunk"}, "stem must be imagenet, pool, half or small, not 'trunk'"),
        ({"downsampling": "maxpool"}, "downsampling must be stride or max_pool, not 'maxpool'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(UserError, match=message):
        small(**options)


@pytest.mark.parametrize(("arch", "halving"), [("resnet18", "conv1"), ("resnext50_32x4d", "conv2")])
def test_downsampling_by_max_pooling(arch, halving):
    pooled, strided = (
        build_resnet(arch, 10, width=0.25, stem="small", downsampling=each).eval() for each in ("max_pool", "stride")
    )
    strided.load_state_dict(pooled.state_dict())
    for number in (2, 3, 4):
        ours, theirs = (net.get_submodule(f"layer{number}.0.{halving}") for net in (pooled, strided))
        maps = torch.randn(2, ours.in_channels, 12, 12)
        with torch.no_grad():
            full = nn.functional.conv2d(maps, theirs.weight, padding=1, groups=theirs.groups)
            largest = full.unflatten(2, (6, 2)).unflatten(4, (6, 2)).amax((3, 5))  # of each 2×2
            torch.testing.assert_close(ours(maps), largest)
            assert ours(maps[:, :, :9, :9]).shape == theirs(maps[:, :, :9, :9]).shape, "5×5 of 9×9"
    images = torch.randn(2, 3, 36, 36)  # 36, 18, 9 and 5 in the stages
    assert pooled(images).shape == (2, 10) and not torch.allclose(pooled(images), strided(images))


def test_a_network_of_eight_channels_computes_what_torchvision_s_blocks_would():
    network = build_resnet("resnet18", 10, width=0.125, stem="small").double()
    plain = nn.Conv2d(8, 16, 1, stride=2, bias=False).double()
    plain.load_state_dict(network.layer2[0].downsample[0].state_dict())
    images = torch.randn(3, 3, 9, 9, dtype=torch.double)
    (network(images) ** 2).sum().backward()
    gradient = network.layer2[0].downsample[0].weight.grad
    logits, network.layer2[0].downsample[0] = network(images), plain
    torch.testing.assert_close(network(images), logits)
    (network(images) ** 2).sum().backward()
    torch.testing.assert_close(plain.weight.grad, gradient)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("dtype", "count", "side"), [("float32", 16, 112), ("bfloat16", 15, 112), ("bfloat16", 7, 32)])
def test_a_network_of_eight_channels_trains_without_a_crash(threads, dtype, count, side):
    """torch 2.15 ends the process by a signal in the backward pass of a plain 1×1 convolution."""
    code = f"""
import torch
from tiny_imagenet.models import build_resnet
torch.set_num_threads({threads})
network = build_resnet("resnet18", 4, width=0.125, stem="small").to(torch.{dtype}, memory_format=torch.channels_last)
images = torch.randn({count}, 3, {side}, {side}, dtype=torch.{dtype}).to(memory_format=torch.channels_last)
for _ in range(5):
    network(images).float().square().sum().backward()
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
