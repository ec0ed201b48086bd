"""The shipped configs of single trainings, and those that need another one before them."""

from tiny_imagenet.cli.arguments import CONFIGS

OVERLAYS = {"published_baseline.yaml": "resnet50_baseline.yaml", "published_aug.yaml": "resnet50_aug.yaml"}
CONFIG_FILES = sorted(path.relative_to(CONFIGS) for path in CONFIGS.rglob("*.yaml") if path.parent.name != "sweeps")
