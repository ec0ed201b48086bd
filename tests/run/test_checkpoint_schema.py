"""Checkpoints whose parts have other types or values than they are saved with, which are refused by the part's name."""

import copy
import math

import pytest
import torch

from tests.helpers.checkpoints import save_alone, write_empty
from tests.helpers.networks import classifier
from tiny_imagenet.classifier import ImageClassifier
from tiny_imagenet.errors import UserError
from tiny_imagenet.run.checkpoint_files import require_checkpoint

NAN, INF = torch.tensor([1.0, math.nan]), torch.tensor([math.inf])

# Where a value is put in a checkpoint of three classes, and what is said of it.
FAULTS = [
    (["dataset", "class_ids"], [1, 2, 3], "dataset.class_ids must be different texts, not [1, 2, 3]"),
    (["dataset", "class_ids"], ["a", "a", "b"], "dataset.class_ids must be different texts"),
    (["dataset", "class_ids"], [], "dataset.class_ids must be different texts, not []"),
    (["dataset", "class_ids"], "abc", "dataset.class_ids must be different texts, not 'abc'"),
    (["dataset", "class_ids"], ["a", "b"], "dataset.class_ids must be as many as its weights have classes, 3, not 2"),
    (["dataset", "class_names"], ["a"], "dataset.class_names must be 3 texts, as many as class_ids, not ['a']"),
    (["dataset", "class_names"], None, "dataset.class_names must be 3 texts"),
    (["dataset", "image_size"], "32", "dataset.image_size must be a number of pixels from 1 to 4096, not '32'"),
    (["dataset", "image_size"], 10**9, "dataset.image_size must be"),
    (["dataset", "image_size"], True, "dataset.image_size must be"),
    (["dataset", "image_size"], 0, "dataset.image_size must be"),
    (["dataset", "mean"], [0.5, 0.5], "dataset.mean must be three numbers, not [0.5, 0.5]"),
    (["dataset", "mean"], 0.5, "dataset.mean must be three numbers, not 0.5"),
    (["dataset", "mean"], [0.5, 0.5, math.nan], "dataset.mean must be three numbers"),
    (["dataset", "std"], [0.5, 0.5, 0.0], "dataset.std must be three numbers above 0"),
    (["dataset", "colour"], "red", "dataset must be class_ids, class_names, image_size, mean, std, not ['class_ids', "),
    (["state_dict", "network.bn1.weight"], NAN, "state_dict.network.bn1.weight must be finite"),
    (["state_dict", "network.bn1.weight"], INF, "state_dict.network.bn1.weight must be finite"),
    (["state_dict", "network.bn1.weight"], torch.ones(2).to_sparse(), "bn1.weight must be a dense tensor of real"),
    (["state_dict", "network.bn1.weight"], torch.ones(2, dtype=torch.complex64), "must be a dense tensor of real numb"),
    (["state_dict", "network.bn1.weight"], torch.ones(2, device="meta"), "must be a dense tensor of real numbers"),
    (["state_dict", "network.bn1.weight"], 3, "state_dict must be tensors by their names, not {'network.bn1.weight'"),
    (["state_dict", 3], torch.ones(1), "state_dict must be tensors by their names"),
    (["current_model_state"], {"network.bn1.weight": NAN}, "current_model_state.network.bn1.weight must be finite"),
    (["current_model_state"], [1], "current_model_state must be tensors by their names, not [1]"),
    (["train_metrics", "loss"], 3, "train_metrics must be sums by their names, not {'loss': 3}"),
    (["train_metrics", "loss"], {"weight": "x"}, "train_metrics.loss must be tensors by their names"),
    (["train_metrics", "loss"], {"weight": torch.tensor(1.0)}, "train_metrics.loss must be sums of each process"),
    (["train_metrics", "loss"], {"weight": torch.ones(0)}, "train_metrics.loss must be sums of each process"),
    (["hyper_parameters"], 3, "hyper_parameters must be values by their names, not 3"),
    (["callbacks", "Timer"], 3, "callbacks must be states by their names, not {"),
    (["callbacks", "RunCheckpoint"], {}, "callbacks.RunCheckpoint must be rows, not []"),
    (["callbacks", "RunCheckpoint"], {"rows": 3}, "RunCheckpoint.rows must be rows of metrics.csv, not"),
    (["callbacks", "RunCheckpoint"], {"rows": [{"step": 3}]}, "RunCheckpoint.rows must be rows of metri"),
    (["callbacks", "RunCheckpoint"], {"rows": [{"epoch": 0, "step": "x"}]}, "must be rows of metrics.cs"),
    (["callbacks", "RunCheckpoint"], {"rows": [], "validation": {"x": []}}, "RunCheckpoint.validation must"),
    (["callbacks", "RunCheckpoint"], {"rows": [], "stopped_early": 3}, "stopped_early must be true or"),
    (["callbacks", "EpochStatistics"], {}, "callbacks.EpochStatistics must be seconds, not []"),
    (["callbacks", "EpochStatistics"], {"seconds": "x"}, "callbacks.EpochStatistics.seconds must be a number, not"),
    (["callbacks", "ConditionNumbers"], {"rows": [{"epoch": 1, "condition_number": 2}]}, "ConditionNumbers.rows must"),
    (["pytorch-lightning_version"], "x", "pytorch-lightning_version must be a version from 2.0 on, not 'x'"),
    (["pytorch-lightning_version"], "1.0.0", "pytorch-lightning_version must be a version from 2.0 on, not '1.0.0'"),
]  # fmt: skip

# Of parts that only a training reads.
FAULTS_OF_TRAININGS = [
    (["epoch"], "x", "epoch must be a number from 0, not 'x'"),
    (["epoch"], None, "epoch must be a number from 0, not None"),
    (["global_step"], -1, "global_step must be a number from 0, not -1"),
    (["global_step"], 10**30, "global_step must be a number from 0"),
    (["loops", "fit_loop"], 3, "loops.fit_loop.epoch_progress.total must be numbers from 0 for ready"),
    (["loops", "fit_loop", "epoch_progress", "current"], {}, "loops.fit_loop.epoch_progress.current must be"),
    (["loops", "fit_loop", "epoch_loop.batch_progress", "total", "ready"], 0.5, "batch_progress.total must be numbers"),
    (["lr_schedulers"], [3], "lr_schedulers must be states of schedules, not 3"),
    (["lr_schedulers"], [{"total_steps": "x"}], "lr_schedulers must be states of schedules, not {'total_steps': 'x'}"),
]  # fmt: skip


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """What a checkpoint of a classifier of three classes holds."""
    path = save_alone(classifier(["a", "b", "c"]), tmp_path_factory.mktemp("checkpoints") / "x.ckpt")
    require_checkpoint(path, training=True)
    return torch.load(path, weights_only=True)


def changed(content, place, value, path):
    content = copy.deepcopy(content)
    holder = content
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    torch.save(content, path)
    return path


@pytest.mark.parametrize(("place", "value", "message"), FAULTS)
def test_a_part_that_can_t_be_used_is_named(content, tmp_path, place, value, message):
    path = changed(content, place, value, tmp_path / "x.ckpt")
    for use in (
        lambda: require_checkpoint(path, training=False),
        lambda: require_checkpoint(path, training=True),
        lambda: ImageClassifier.load_from_checkpoint(path),
    ):
        with pytest.raises(UserError) as caught:
            use()
        assert str(caught.value).startswith(f"{path} is damaged: its ") and message in str(caught.value)
        assert str(caught.value).isprintable() and len(str(caught.value)) < 600


@pytest.mark.parametrize(("place", "value", "message"), FAULTS_OF_TRAININGS)
def test_what_a_training_needs_is_checked_for_a_training(content, tmp_path, place, value, message):
    path = changed(content, place, value, tmp_path / "x.ckpt")
    require_checkpoint(path, training=False)
    with pytest.raises(UserError) as caught:
        require_checkpoint(path, training=True)
    assert str(caught.value).startswith(f"{path} is damaged: its ") and message in str(caught.value)


@pytest.mark.parametrize(
    ("written", "told"),
    [("x" * 10**6, "'xxx"), ("\n\x1b", r"'\n\x1b'"), (10**600, "1000000"), (None, "None"),
     (torch.ones(10**5), "a tensor [100000]"), ({0: torch.ones(3)}, "{0: tensor([1., 1., 1.])}")],
    ids=["text", "control characters", "number", "null", "tensor", "nested"],
)  # fmt: skip
def test_a_format_that_is_none_of_this_project_s_is_told_in_a_line(content, tmp_path, written, told):
    path = changed(content, ["tiny_imagenet_format"], written, tmp_path / "x.ckpt")
    for use in (lambda: require_checkpoint(path, training=True), lambda: ImageClassifier.load_from_checkpoint(path)):
        with pytest.raises(UserError) as caught:
            use()
        assert str(caught.value).startswith(f"{path} has format {told}")
        assert str(caught.value).isprintable() and len(str(caught.value)) < 600


@pytest.mark.parametrize("missing", ["class_ids", "class_names", "image_size", "mean", "std"])
def test_a_missing_entry_of_the_data_is_told(content, tmp_path, missing):
    rest = {name: value for name, value in content["dataset"].items() if name != missing}
    path = changed(content, ["dataset"], rest, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="its dataset must be class_ids, class_names, image_size, mean, std, not"):
        require_checkpoint(path, training=False)


def test_what_users_and_earlier_versions_save_is_no_fault(content, tmp_path):
    for place, value in (
        (["callbacks", "OfTheUser"], {"anything": [{1: "x"}]}),
        (["callbacks", "RunCheckpoint"], {"rows": [{"epoch": 0, "step": 8, "memory": math.nan}]}),
        (["mine"], {"more": [torch.tensor(math.nan)]}),
        (["pytorch-lightning_version"], "2.7.0.dev20261129+cpu"),
        (["state_dict", "network.bn1.num_batches_tracked"], torch.tensor(7)),
        (["state_dict", "network.conv1.weight"], torch.full((8, 3, 7, 7), 3e38)),  # whose sum is infinite
    ):
        assert require_checkpoint(changed(content, place, value, tmp_path / "x.ckpt"), training=True) == tmp_path


def test_names_in_a_message_are_legible_and_short(content, tmp_path):
    path = changed(content, ["state_dict", "\033[31m" + "x" * 10_000], NAN, tmp_path / "x.ckpt")
    with pytest.raises(UserError) as caught:
        require_checkpoint(path, training=False)
    assert "\\x1b[31mxxx" in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": 3}, "no ResNet 3"),
        ({"arch": "resnet9000"}, "no ResNet 'resnet9000'"),
        ({"width": "wide"}, "its hyper_parameters can't be used (TypeError: "),
        ({"width": 1e300}, "width must be a factor above 0 and up to 100"),
        ({"width": 50.0}, "The checkpoint's weights do not fit the network"),  # of 100 GB
        ({"max_parameters": 1000}, "more than max_parameters=1,000. "),
        ({"blocks": [10**12, 1, 1, 1]}, "blocks must be three or four numbers from 1 to 250"),
        ({"blocks": 3}, "its hyper_parameters can't be used (TypeError: "),
        ({"stem": "pool_first"}, "stem must be imagenet, pool, half or small, not 'pool_first'"),
        ({"freeze": 3}, "its hyper_parameters can't be used (TypeError: "),
        ({"tta_shift": "x"}, "its hyper_parameters can't be used (TypeError: "),
        ({"unfreeze_at": [3]}, "its hyper_parameters can't be used (AttributeError: "),
    ],
)
def test_options_of_a_network_that_can_t_be_built_are_told(content, tmp_path, options, message):
    path = changed(content, ["hyper_parameters"], content["hyper_parameters"] | options, tmp_path / "x.ckpt")
    with pytest.raises(UserError) as caught:
        ImageClassifier.load_from_checkpoint(path)
    assert message in str(caught.value)


def test_a_million_classes_are_refused_at_once(tmp_path):
    names = [str(number) for number in range(10**6)]
    content = torch.load(write_empty(tmp_path / "x.ckpt"), weights_only=True)
    content["dataset"] |= {"class_ids": names, "class_names": names}
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="dataset.class_ids must be at most its 1 weights, not 1,000,000"):
        require_checkpoint(tmp_path / "x.ckpt", training=False)


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict", "weights"])
def test_weights_that_are_not_finite_are_used_by_no_command(run, small, checkpoint, tmp_path, command):
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["network.layer1.0.bn1.running_var"][3] = math.nan
    torch.save(content, checkpoint)
    before = {path: path.read_bytes() for path in checkpoint.parents[1].rglob("*") if path.is_file()}
    arguments = (
        ["fit", f"--model.weights={checkpoint}"] if command == "weights" else [command, f"--ckpt_path={checkpoint}"]
    )
    status, output = run(*arguments, *small)
    assert status == 1 and "Traceback" not in output, output
    assert "its state_dict.network.layer1.0.bn1.running_var must be finite, and it has NaN" in output, output
    assert {path: path.read_bytes() for path in before} == before
    assert [path.name for path in (tmp_path / "runs" / "defaults").iterdir()] == ["version_0"]
