"""The shipped configs of single trainings, and the overlays among them with a config that they can follow."""

from tiny_imagenet.cli.arguments import CONFIGS

OVERLAYS = {"published_baseline.yaml": "resnet50_baseline.yaml", "published_aug.yaml": "resnet50_aug.yaml"}
CONFIG_FILES = sorted(path.relative_to(CONFIGS) for path in CONFIGS.rglob("*.yaml") if path.parent.name != "sweeps")
