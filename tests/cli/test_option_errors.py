"""What a user is told of an argument that jsonargparse refuses, whose messages an upgrade may change."""

from typing import Literal

import pytest
from jsonargparse import ArgumentError
from lightning.pytorch.cli import LightningArgumentParser, OptimizerCallable

from tiny_imagenet.cli import allowed, app
from tiny_imagenet.cli.option_errors import option_error_message
from tiny_imagenet.data import ImageDataModule, SyntheticDataModule

OPTIONS = ("model.width", "model.stem", "model.max_parameters", "model.optimizer.lr", "data.batch_size")
CLASSES = {"ImageDataModule": ["SyntheticDataModule", "CIFAR10DataModule"], "Optimizer": ["SGD", "Adam", "AdamW"]}


def parser() -> LightningArgumentParser:
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--model.width", type=float)
    parser.add_argument("--model.stem", type=Literal["small", "half"])
    parser.add_argument("--model.pool", type=Literal["max", "mean"] | None)
    parser.add_argument("--model.max_parameters", type=int | None)
    parser.add_argument("--model.optimizer", type=OptimizerCallable)
    parser.add_argument("--seed", type=bool | int)
    parser.add_lightning_class_args(ImageDataModule, "data", subclass_mode=True, required=False)
    return parser


def message(*argv: str) -> str:
    """What the user is told of these arguments."""
    allowed.restrict_configs()
    with pytest.raises(ArgumentError) as caught:
        parser().parse_args(list(argv))
    return option_error_message(caught.value, OPTIONS, CLASSES)


def test_arguments_without_a_fault_are_parsed():
    allowed.restrict_configs()
    found = parser().parse_args(["--model.width=0.5", "--model.max_parameters=null", "--model.optimizer=SGD"])
    assert (found.model.width, found.model.max_parameters) == (0.5, None)
    assert found.model.optimizer.class_path == "torch.optim.SGD"


@pytest.mark.parametrize("argv", [["--model.wdith=2"], ["--model.wdith", "2"], ["--model.wdith=2", "--further=1"]])
def test_a_misspelt_option_names_the_nearest(argv):
    assert message(*argv) == "There is no option --model.wdith. Did you mean --model.width?"


def test_an_option_like_no_other_is_named_alone():
    assert message("--xyzzy") == "There is no option --xyzzy."


def test_a_misspelt_option_of_a_class_names_the_nearest():
    found = message("--data=SyntheticDataModule", "--data.batchsize=7")
    assert found == "data has no option 'batchsize'. Did you mean batch_size?"
    found = message("--model.optimizer=SGD", "--model.optimizer.lrr=1")
    assert found == "model.optimizer has no option 'lrr'. Did you mean lr?"


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (
            "--data=SyntheticDataModul",
            "data: there is no class 'SyntheticDataModul'. Did you mean SyntheticDataModule?",
        ),
        ("--model.optimizer=Adamm", "model.optimizer: there is no class 'Adamm'. Did you mean Adam or AdamW?"),
    ],
)
def test_a_misspelt_class_names_the_nearest(argument, expected):
    assert message(argument) == expected


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--model.width=wide", "model.width must be float, not 'wide'."),
        ("--model.stem=large", "model.stem must be one of 'small', 'half', not 'large'."),
        ("--model.pool=min", "model.pool must be one of 'max', 'mean' or null, not 'min'."),
        ("--model.max_parameters=many", "model.max_parameters must be int or null, not 'many'."),
    ],
)
def test_a_value_of_another_type_says_which_is_expected(argument, expected):
    assert message(argument) == expected


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--model.optimizer.lr=abc"], "model.optimizer.lr must be float, not 'abc'."),
        (["--model.optimizer.nesterov=maybe"], "model.optimizer.nesterov must be bool, not 'maybe'."),
        (["--model.optimizer=Adam", "--model.optimizer.betas=3"], "model.optimizer.betas must be tuple, not '3'."),
        (["--model.scheduler.warmup=x"], "model.scheduler.warmup must be int or float, not 'x'."),
        (["--model.freeze=conv1"], "model.freeze is a list. To add one: --model.freeze+=conv1"),
        (["--model.blocks=3"], "model.blocks is a list. To add one: --model.blocks+=3"),
        (["--model.optimizer=Sgd"], "model.optimizer: there is no class 'Sgd'. Did you mean SGD?"),
        (["--model.optimizer=torch.optim.SGDD"], "model.optimizer: there is no class 'SGDD'. Did you mean SGD?"),
        (["--trainer.logger=CSV"], "trainer.logger: there is no class 'CSV'. Did you mean CSVLogger?"),
        (["--trainer.callbacks=EMA", "--trainer.callbacks.decay=x"], "trainer.callbacks.decay must be float, not 'x'."),
        (["--trainer.callbacks+=EMA", "--trainer.callbacks.decai=1"], "trainer.callbacks has no option 'decai'."),
        (["--data.augment=RandomCrop"], "data.augment is a list. To add one: --data.augment+=RandomCrop"),
        (["--data.augment+=RandomCrop", "--data.augment.padding=x"], "data.augment.padding must be int, not 'x'."),
        (
            ["--data.augment+=torchvision.transforms.v2.RandomRotation", "--data.augment.degrees=x"],
            "data.augment.degrees must be Number or list, not 'x'.",
        ),
        (["--data.holdout=x"], "data.holdout must be int or float, not 'x'."),
        (["--data.mix=cutmix"], "data.mix: there is no class 'cutmix'. Use --data.mix '{mixup: 0.2, cutmix: 1.0}'"),
    ],
)
def test_a_wrong_value_of_an_option_within_a_class_is_named(run, argv, expected):
    assert run("fit", "--config=quickstart.yaml", *argv) == (2, f"error: {expected}\n")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (
            ["--trainer.callbacks+=EarlyStopping"],
            "trainer.callbacks: EarlyStopping needs monitor: --trainer.callbacks.monitor val/loss",
        ),
        (
            ["--trainer.callbacks+=EMA", "--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.mode=max"],
            "trainer.callbacks: EarlyStopping needs monitor: --trainer.callbacks.monitor val/loss",
        ),
        (
            ["--trainer.callbacks=EarlyStopping"],
            "trainer.callbacks: EarlyStopping needs monitor: --trainer.callbacks.monitor val/loss",
        ),
        (["--model.scheduler=StepLR"], "model.scheduler: StepLR needs step_size: --model.scheduler.step_size VALUE"),
        (
            ["--model.scheduler=CyclicLR"],
            "model.scheduler: CyclicLR needs base_lr, max_lr: --model.scheduler.base_lr VALUE "
            "--model.scheduler.max_lr VALUE",
        ),
        (
            ["--model.scheduler=lightning.pytorch.cli.ReduceLROnPlateau"],
            "model.scheduler: ReduceLROnPlateau needs monitor: --model.scheduler.monitor val/loss",
        ),
        (
            ["--data.augment+=torchvision.transforms.v2.Resize", "--data.augment.antialias=true"],
            "data.augment: Resize needs size: --data.augment.size VALUE",
        ),
        (
            ["--trainer.plugins=MixedPrecision"],
            "trainer.plugins: MixedPrecision needs precision, device: --trainer.plugins.precision VALUE "
            "--trainer.plugins.device VALUE",
        ),
    ],
)
def test_a_class_that_lacks_a_required_argument_names_it(run, argv, expected):
    assert run("fit", "--config=quickstart.yaml", *argv) == (2, f"error: {expected}\n")


def test_what_the_message_about_a_missing_argument_advises_is_accepted(parsed):
    argv = ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor", "val/loss"]
    assert parsed("--config=quickstart.yaml", *argv).trainer.early_stopping_callback.monitor == "val/loss"


def test_null_is_offered_only_where_it_is_accepted():
    assert message("--seed=first") == "seed must be bool or int, not 'first'."


def test_a_value_in_a_file_is_named_by_its_key(tmp_path):
    (tmp_path / "config.yaml").write_text("model: {width: wide}")
    assert message(f"--config={tmp_path / 'config.yaml'}") == "model.width must be float, not 'wide'."


def test_an_abstract_class_lists_those_to_choose_from():
    expected = "data: ImageDataModule is abstract. Choose from: CIFAR10DataModule, SyntheticDataModule."
    assert message("--data=ImageDataModule") == expected
    assert message("--data=tiny_imagenet.data.ImageDataModule") == expected


@pytest.mark.xfail(strict=True, reason="jsonargparse words it otherwise for an option of a class that is not chosen")
def test_an_option_of_a_class_that_is_not_chosen_lists_those_to_choose_from():
    found = message("--data.batch_size=7")
    assert found.startswith("data") and "CIFAR10DataModule, SyntheticDataModule" in found and "\n" not in found


def test_a_class_of_a_module_that_is_not_allowed_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_text("model: {optimizer: {class_path: subprocess.Popen}}")
    for argument, where, name in (
        ("--data=subprocess.Popen", "data", "subprocess.Popen"),
        ("--model.optimizer=os.system", "model.optimizer", "os.system"),
        (f"--config={tmp_path / 'config.yaml'}", "model.optimizer", "subprocess.Popen"),
    ):
        found = message(argument)
        assert found.startswith(f"{where}: a config may not name {name}, ")
        assert f"{allowed.VARIABLE}=MODULE" in found and "torch.optim, " in found


@pytest.mark.parametrize("tag", ["python/object/apply:os.system", "python/name:os.system"])
def test_a_tag_that_could_run_code_is_named(tmp_path, tag):
    (tmp_path / "config.yaml").write_text(f"model: !!{tag} ['true']\n" if "apply" in tag else f"model: !!{tag} ''\n")
    found = message(f"--config={tmp_path / 'config.yaml'}")
    assert found.startswith(f"A config has the YAML tag !!{tag}. Remove it: configs hold plain")


def test_an_unknown_kind_of_error_is_told_in_its_own_words(tmp_path):
    assert message(f"--config={tmp_path / 'absent.yaml'}").endswith(
        f"File does not exist: '{tmp_path / 'absent.yaml'}'"
    )
    assert option_error_message(ValueError("something else"), OPTIONS, CLASSES) == "something else"


def test_the_names_that_are_offered_are_those_of_classes_that_can_be_instantiated():
    names = app._class_names(ImageDataModule)
    assert SyntheticDataModule.__name__ in names and ImageDataModule.__name__ not in names


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("data: 5", "data takes classes and their options, not 5."),
        ("data: {init_args: {augment: [3]}}", "data.augment takes classes and their options, not 3."),
        ("data: {init_args: {augment: [{a: 1}]}}", "data.augment has no option 'a'."),
        (
            "data: {init_args: {augment: [[RandomCrop]]}}",
            "data.augment takes classes and their options, not ['RandomCr",
        ),
        ("model: {optimizer: 5}", "model.optimizer takes classes and their options, not 5."),
        ("trainer: {callbacks: [5]}", "trainer.callbacks takes classes and their options, not 5."),
        (
            "trainer: {callbacks: [torch.optim.SGD]}",
            "trainer.callbacks: torch.optim.SGD is not a subclass of Callback.",
        ),
    ],
)
def test_what_is_no_class_in_a_config(run, tmp_path, content, expected):
    (tmp_path / "other.yaml").write_text(content)
    status, output = run("fit", "--config=quickstart.yaml", "--config=other.yaml")
    assert status == 2 and output.startswith(f"error: {expected}") and output.count("\n") == 1
