"""Folders of class folders, each class of one colour."""

from pathlib import Path

from PIL import Image

COLOURS = {"ant": (200, 30, 30), "bee": (30, 200, 30), "cat": (30, 30, 200)}


def write_classes(folder: Path, per_class=10, classes=COLOURS, size=(20, 20)) -> Path:
    for name, colour in classes.items():
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            Image.new("RGB", size, colour).save(folder / name / f"{number}.png")
    return folder
