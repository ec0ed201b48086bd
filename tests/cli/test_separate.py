"""Options taken out of a command line, and which run and checkpoint they choose."""

import os
from pathlib import Path

import pytest

from tests.helpers.checkpoints import write_empty
from tiny_imagenet.cli.arguments import CONFIGS, find_config, plan, resuming, separate
from tiny_imagenet.errors import UserError


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write_run(folder: str, *names: str, age: float = 0.0) -> Path:
    """A run with these checkpoints, which were written so many seconds ago, and with an empty config."""
    run = Path(folder)
    for name in names:
        path = write_empty(run / "checkpoints" / f"{name}.ckpt")
        time = path.stat().st_mtime - age
        os.utime(path, (time, time))
    (run / "config.yaml").write_text("{}")
    return run


# separate


@pytest.mark.parametrize("arguments", [["--name", "mine"], ["--name=mine"]])
def test_an_option_is_taken_in_both_spellings(arguments):
    others = ["--model.width=0.5", "--trainer.max_epochs", "3"]
    assert separate([*others[:1], *arguments, *others[1:]], "--name") == ({"--name": ["mine"]}, others)


@pytest.mark.parametrize("arguments", [["-c", "a.yaml"], ["-c=a.yaml"], ["--config", "a.yaml"]])
def test_config_has_a_short_name(arguments):
    assert separate(arguments, "--config") == ({"--config": ["a.yaml"]}, [])


def test_repeated_values_keep_their_order_and_options_that_are_not_given_have_none():
    values, others = separate(["--config=b", "-c", "a", "--x", "--config", "c"], "--config", "--name")
    assert values == {"--config": ["b", "a", "c"], "--name": []}
    assert others == ["--x"]


def test_a_value_may_hold_an_equals_sign_and_begin_with_dashes_where_it_is_attached():
    assert separate(["--name=a=b", "--name=--c"], "--name")[0] == {"--name": ["a=b", "--c"]}


def test_options_that_only_begin_alike_are_left():
    assert separate(["--names=x", "--name_it", "--config.x=1"], "--name", "--config") == (
        {"--name": [], "--config": []},
        ["--names=x", "--name_it", "--config.x=1"],
    )


@pytest.mark.parametrize("arguments", [["--name"], ["--name="], ["--name", ""], ["--name", "--config", "a"]])
def test_an_option_without_a_value_is_refused(arguments):
    with pytest.raises(UserError, match="^--name needs a value: --name VALUE.$"):
        separate(arguments, "--name", "--config")


def test_the_short_name_of_an_option_is_no_value():
    with pytest.raises(UserError, match="--name needs a value"):
        separate(["--name", "-c", "a.yaml"], "--name", "--config")


# fit


def test_options_are_put_behind_configs_that_are_typed_after_them():
    target = plan(["fit", "--model.width=0.5", "-c", "resnet18_aug", "--trainer.max_epochs=2", "--config=quickstart"])
    configs = [f"--config={CONFIGS / name}.yaml" for name in ("resnet18_aug", "quickstart")]
    assert target.argv[2:6] == [*configs, "--model.width=0.5", "--trainer.max_epochs=2"]
    assert target.run == Path("runs/resnet18_aug/version_0"), "the first config names it"


def test_the_folder_of_a_name_is_its_newest_run():
    write_run("runs/wide/version_0", "last", "best")
    newest = write_run("runs/wide/version_1", "last", "best")
    (newest / "config.yaml").write_text("{}")
    assert plan(["fit", "--ckpt_path=runs/wide"]).checkpoint == newest / "checkpoints/last.ckpt"
    assert plan(["test", "--ckpt_path=runs/wide"]).checkpoint == newest / "checkpoints/best.ckpt"


def test_last_and_best_are_those_of_the_newest_version():
    write_run("runs/defaults/version_0", "last", "best")
    newest = write_run("runs/defaults/version_1", "last", "best", age=100)
    last, best = plan(["fit", "--ckpt_path=last"]), plan(["fit", "--ckpt_path=best"])
    assert (last.run, last.checkpoint) == (newest, newest / "checkpoints/last.ckpt")
    assert (best.run, best.checkpoint) == (newest.with_name("version_2"), newest / "checkpoints/best.ckpt")
    assert best.argv[-2:] == [f"--ckpt_path={newest / 'checkpoints/best.ckpt'}", "--weights_only=true"]


def test_a_run_s_folder_resumes_that_run():
    older = write_run("runs/defaults/version_0", "last", "best")
    write_run("runs/defaults/version_1", "last")
    target = plan(["fit", f"--ckpt_path={older}"])
    assert (target.run, target.checkpoint) == (older, older / "checkpoints/last.ckpt")


def test_previous_resumes_its_run_and_a_file_without_a_config_starts_one():
    run = write_run("runs/mine/version_4", "previous", "last")
    assert plan(["fit", "--ckpt_path", str(run / "checkpoints/previous.ckpt")]).run == run
    (run / "config.yaml").unlink()
    assert plan(["fit", "--ckpt_path", str(run / "checkpoints/last.ckpt")]).run == Path("runs/defaults/version_0")


def test_a_folder_without_a_checkpoint_to_resume_from_names_those_that_there_are():
    run = write_run("runs/mine/version_0", "best")
    with pytest.raises(UserError, match=rf"^{run} has no checkpoint to resume from\. .*: {run}/checkpoints/best\.ckpt"):
        plan(["fit", f"--ckpt_path={run}"])


def test_last_without_one_names_what_could_be_resumed(caplog):
    older = write_run("runs/defaults/version_0", "last")
    newest = write_run("runs/defaults/version_1", "best")
    assert plan(["fit", "--ckpt_path=last"]).checkpoint is None
    (note,) = caplog.messages
    assert (
        f"{newest} has no checkpoint to resume from. You could resume {newest / 'checkpoints/best.ckpt'}, {older}."
        in note
    )
    assert note.endswith("Starting afresh in runs/defaults/version_2.")


def test_a_checkpoint_that_is_still_being_saved_is_not_listed():
    run = write_run("runs/mine/version_0", "best", ".saving", ".best")
    with pytest.raises(UserError) as caught:
        plan(["fit", "--ckpt_path=nowhere.ckpt"])
    assert str(caught.value) == (
        f"There is no checkpoint nowhere.ckpt. In {Path('runs').resolve()} there are: {run}/checkpoints/best.ckpt."
    )


def test_a_run_is_resumed_by_last_while_it_is_the_newest_of_its_name():
    argv = ["fit", "--model.width=0.5", "--ckpt_path", "x.ckpt"]
    write_run("runs/defaults/version_0", "last")
    target = plan(["fit", "--ckpt_path=last"])
    assert resuming(argv, target) == ["--model.width=0.5", "--ckpt_path", "last"]
    write_run("runs/defaults/version_1", "last")
    assert resuming(argv, target) == ["--model.width=0.5", "--ckpt_path", "runs/defaults/version_0"]


# test, validate, predict


@pytest.mark.parametrize("name", ["last", "best"])
def test_evaluation_takes_the_newest_run_by_time_whatever_its_name_and_version(name):
    write_run("runs/a/version_7", "last", "best", age=20)
    newest = write_run("runs/m/trial_3/version_0", "last", "best", age=10)
    write_run("runs/z/version_9", "last", "best", age=30)
    target = plan(["test", f"--ckpt_path={name}"])
    assert (target.run, target.checkpoint) == (newest, newest / "checkpoints" / f"{name}.ckpt")


def test_evaluation_takes_the_newest_run_of_a_name():
    older = write_run("runs/a/version_0", "best", age=20)
    write_run("runs/b/version_0", "best", age=10)
    assert plan(["test", "--ckpt_path=best", "--name=a"]).run == older


def test_evaluation_tests_the_best_of_a_run_s_folder_or_else_its_last():
    run = write_run("runs/a/version_0", "best", "last")
    assert plan(["test", f"--ckpt_path={run}"]).checkpoint == run / "checkpoints/best.ckpt"
    (run / "checkpoints/best.ckpt").unlink()
    assert plan(["validate", f"--ckpt_path={run}"]).checkpoint == run / "checkpoints/last.ckpt"
    (run / "checkpoints/last.ckpt").unlink()
    with pytest.raises(UserError, match=f"^{run} has no checkpoint"):
        plan(["test", f"--ckpt_path={run}"])


def test_evaluation_takes_last_where_the_test_images_chose_the_best():
    run = write_run("runs/a/version_0", "best", "last")
    (run / "config.yaml").write_text("data: {init_args: {holdout: 0}}")
    assert plan(["test", f"--ckpt_path={run}"]).checkpoint == run / "checkpoints/last.ckpt"


def test_without_a_run_it_says_where_none_is():
    for name in ("last", "best"):
        with pytest.raises(UserError, match=f"--ckpt_path {name}: no run in {Path('runs').resolve()} has a checkpoint"):
            plan(["predict", f"--ckpt_path={name}"])
    with pytest.raises(UserError, match="There is none in .*/runs yet"):
        plan(["test"])


# Another folder for the runs


def test_runs_are_looked_for_and_made_under_another_root(tmp_path):
    write_run("runs/defaults/version_4", "last", "best")
    there = write_run(str(tmp_path / "disk/runs/defaults/version_1"), "last", "best", age=100)
    root = f"--trainer.default_root_dir={tmp_path / 'disk'}"
    assert plan(["fit", root]).run == there.with_name("version_2")
    assert plan(["fit", root, "--ckpt_path=last"]).run == there
    assert plan(["test", root, "--ckpt_path=best"]).run == there
    target = plan(["fit", "--trainer.default_root_dir", str(tmp_path / "disk")])
    given = [argument for argument in target.argv if argument.startswith("--trainer.default_root_dir")]
    assert given == [f"--trainer.default_root_dir={there.with_name('version_2')}"], (
        "and only the run's own is passed on"
    )


def test_the_root_may_be_below_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert plan(["fit", "--trainer.default_root_dir=~/vm"]).run == tmp_path / "home/vm/runs/defaults/version_0"


# What is no command, and configs


@pytest.mark.parametrize(
    ("argv", "passed_on"),
    [
        (["test", "--help-all"], ["test", "--help"]),
        (["fit", "--data.help", "CIFAR10DataModule"], ["fit", "--data.help", "CIFAR10DataModule"]),
        (["fit", "--model.optimizer.help=SGD"], ["fit", "--model.optimizer.help=SGD"]),
    ],
)
def test_the_parser_s_own_help_needs_no_config_and_no_checkpoint(argv, passed_on):
    target = plan(argv)
    assert (target.argv, target.checkpoint) == (passed_on, None)


def test_a_name_like_none_lists_all_configs_but_those_of_sweeps():
    with pytest.raises(UserError) as caught:
        find_config("xyzzy")
    listed = str(caught.value).partition("Choose from: ")[2].rstrip(".").split(", ")
    assert listed == sorted(
        str(path.relative_to(CONFIGS).with_suffix("")) for path in CONFIGS.rglob("*.yaml") if "sweeps" not in path.parts
    )
