"""Null in a config: a line that names the option if it needs a value."""

import pytest
import yaml

SYNTHETIC = {"class_path": "SyntheticDataModule"}
NEEDED = {
    "model.label_smoothing": ({"model": {"label_smoothing": None}}, "must be float"),
    "model.stem": ({"model": {"stem": None}}, "must be one of 'imagenet', 'pool', 'half', 'small'"),
    "model.tta_shift": ({"model": {"tta_shift": None}}, "must be int"),
    "model.freeze": ({"model": {"freeze": None}}, "must be list"),
    "model.optimizer": ({"model": {"optimizer": None}}, "can't be null"),
    "model.optimizer.lr": (
        {"model": {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": None}}}},
        "must be float",
    ),
    "model.scheduler.warmup": ({"model": {"scheduler": {"init_args": {"warmup": None}}}}, "must be int or float"),
    "data.batch_size": ({"data": SYNTHETIC | {"init_args": {"batch_size": None}}}, "must be int"),
    "data.augment.padding": (
        {
            "data": SYNTHETIC
            | {"init_args": {"augment": [{"class_path": "RandomCrop", "init_args": {"padding": None}}]}}
        },
        "must be int",
    ),
    "trainer.max_steps": ({"trainer": {"max_steps": None}}, "must be int"),
    "trainer.callbacks.decay": (
        {"trainer": {"callbacks": {"class_path": "EMA", "init_args": {"decay": None}}}},
        "must be float",
    ),
    "checkpoint": ({"checkpoint": None}, "is null in a config"),
}


@pytest.mark.parametrize(("option", "config", "message"), [(name, *case) for name, case in NEEDED.items()], ids=NEEDED)
def test_an_option_that_needs_a_value(run, tmp_path, option, config, message):
    (tmp_path / "nulls.yaml").write_text(yaml.safe_dump(config))
    status, output = run("fit", "--config=nulls.yaml", "--trainer.accelerator=cpu")
    assert status in (1, 2) and output.startswith(f"error: {option}") and message in output
    assert "null" in output and output.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("model.optimizer", {"class_path": "torch.optim.SGD", "init_args": None}),
        ("model.optimizer", {"class_path": None, "init_args": {"lr": 0.1}}),
        ("data", {"class_path": "SyntheticDataModule", "init_args": None}),
        ("data", {"class_path": None, "init_args": {"batch_size": 3}}),
        ("data", {"class_path": 3}),
        ("data", {"class_path": "SyntheticDataModule", "init_args": 3}),
        ("model.optimizer", {"class_path": ["torch.optim.SGD"]}),
        ("model.optimizer", {"class_path": "torch.optim.SGD", "init_args": [1]}),
        ("trainer.callbacks", [{"class_path": "EMA", "init_args": None}]),
    ],
)
def test_a_class_whose_path_or_options_are_of_another_type(run, tmp_path, option, value):
    section, _, name = option.partition(".")
    (tmp_path / "nulls.yaml").write_text(yaml.safe_dump({section: {name: value} if name else value}))
    message = "class_path must be the name of a class, and init_args must map its options to values."
    assert run("fit", "--config=nulls.yaml") == (2, f"error: {option}: {message}\n")


def test_an_option_that_may_have_none(parsed, tmp_path):
    transform = {"class_path": "torchvision.transforms.v2.RandomRotation", "init_args": {"degrees": 5, "center": None}}
    data = {"classes": None, "mix": None, "augment": [transform]}
    config = {"model": {"blocks": None, "scheduler": None}, "data": SYNTHETIC | {"init_args": data}}
    (tmp_path / "nulls.yaml").write_text(yaml.safe_dump(config | {"trainer": {"gradient_clip_val": None}}))
    classes = parsed("--config=nulls.yaml")
    assert classes.trainer.gradient_clip_val is None and len(classes.datamodule.pipeline.augmentations) == 1
