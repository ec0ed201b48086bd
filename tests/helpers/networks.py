"""Networks that are small enough to try every option on."""

from tiny_imagenet.models import ResNet, build_resnet


def small(arch: str = "resnet18", classes: int = 5, **options) -> ResNet:
    return build_resnet(arch, classes, **{"width": 0.125, **options})
