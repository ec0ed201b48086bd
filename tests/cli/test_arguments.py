"""What a command line means: configs by name, run folders, checkpoints."""

import os

import pytest

from tests.helpers.checkpoints import write_empty as checkpoint
from tiny_imagenet.cli.arguments import CONFIGS, find_config, plan
from tiny_imagenet.errors import UserError


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_bare_name_is_found_in_configs_from_any_directory(tmp_path):
    assert find_config("resnet50_aug.yaml") == CONFIGS / "resnet50_aug.yaml"
    assert find_config("resnet50_aug") == CONFIGS / "resnet50_aug.yaml"
    (tmp_path / "resnet50_aug.yaml").write_text("model: {arch: resnet50}")
    assert find_config("resnet50_aug.yaml").resolve() == tmp_path / "resnet50_aug.yaml", (
        "a file in the working directory comes first"
    )


def test_a_wrong_name_lists_the_nearest():
    with pytest.raises(UserError, match=r"resnet50_agu.*Did you mean resnet50_aug\?"):
        find_config("resnet50_agu.yaml")


def test_a_pipe_is_no_config(tmp_path):
    """As a shell's <(command) names it; a run reads its configs more than once."""
    os.mkfifo(tmp_path / "fifo.yaml")
    with pytest.raises(UserError, match="config fifo.yaml is a pipe or a device. Write it to a file"):
        find_config("fifo.yaml")
    with pytest.raises(UserError, match="There is no config '.'"):  # a folder is none either
        find_config(".")


def test_options_override_configs_wherever_they_are_typed():
    target = plan(["fit", "--config", "resnet18_aug.yaml", "--model.width=0.5", "--config=published_aug.yaml"])
    assert str(target.run) == "runs/resnet18_aug/version_0"
    assert target.checkpoint is None
    assert target.argv[:2] == ["fit", f"--config={CONFIGS / 'defaults.yaml'}"]
    assert target.argv[2:5] == [
        f"--config={CONFIGS / 'resnet18_aug.yaml'}",
        f"--config={CONFIGS / 'published_aug.yaml'}",
        "--model.width=0.5",
    ]
    assert target.argv[5] == f"--trainer.default_root_dir={target.run}"


def test_versions_count_up_as_numbers(tmp_path):
    for version in (0, 2, 10):
        (tmp_path / "runs" / "defaults" / f"version_{version}").mkdir(parents=True)
    assert plan(["fit"]).run.name == "version_11"


def test_a_name_given_by_the_user():
    target = plan(["fit", "--config", "resnet18_aug.yaml", "--name", "sweep/trial_3"])
    assert str(target.run) == "runs/sweep/trial_3/version_0"
    assert not any("--name" in argument for argument in target.argv)


def test_last_resumes_the_newest_run(tmp_path):
    for version in (9, 10):
        checkpoint(tmp_path / f"runs/defaults/version_{version}/checkpoints/last.ckpt")
    target = plan(["fit", "--ckpt_path", "last"])
    assert target.run.name == "version_10"
    assert target.argv[-2] == "--ckpt_path=runs/defaults/version_10/checkpoints/last.ckpt"


def test_a_run_s_last_checkpoint_resumes_it_and_its_best_starts_a_new_run(tmp_path):
    run = tmp_path / "runs/mine/version_3"
    for name in ("last", "best"):
        checkpoint(run / f"checkpoints/{name}.ckpt")
    (run / "config.yaml").write_text("{}")
    assert plan(["fit", "--ckpt_path", str(run / "checkpoints/last.ckpt")]).run == run
    assert str(plan(["fit", "--ckpt_path", str(run / "checkpoints/best.ckpt")]).run) == "runs/defaults/version_0"


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_evaluation_takes_config_and_folder_from_the_checkpoint_s_run(tmp_path, command):
    run = tmp_path / "elsewhere/version_0"
    best = checkpoint(run / "checkpoints/best.ckpt")
    (run / "config.yaml").write_text("{}")
    target = plan([command, "--ckpt_path", str(best), "--data.batch_size=7"])
    assert target.run == run
    assert f"--config={run / 'config.yaml'}" in target.argv
    assert target.argv.index("--data.batch_size=7") > target.argv.index(f"--config={run / 'config.yaml'}")
    assert target.argv[-2] == f"--ckpt_path={best}"
    assert "--trainer.devices=1" in target.argv, "whatever machine it was trained on"


@pytest.mark.parametrize(("precision", "left"), [("32-true", False), ("bf16-mixed", True), ("16-mixed", True)])
def test_evaluation_keeps_full_precision_and_leaves_half_to_the_machine(tmp_path, precision, left):
    path = checkpoint(tmp_path / "runs" / "a" / "version_0" / "checkpoints" / "best.ckpt")
    (tmp_path / "runs" / "a" / "version_0" / "config.yaml").write_text(f"trainer: {{precision: {precision}}}")
    assert ("--trainer.precision=null" in plan(["test", f"--ckpt_path={path}"]).argv) == left


def test_evaluation_without_what_it_needs(tmp_path):
    with pytest.raises(UserError, match="needs a checkpoint"):
        plan(["test"])
    best = checkpoint(tmp_path / "best.ckpt")
    with pytest.raises(UserError, match=r"config\.yaml.*is not there"):
        plan(["test", "--ckpt_path", str(best)])
    assert plan(["test", "--ckpt_path", str(best), "--config", "resnet18_aug.yaml"]).checkpoint == best


def test_missing_and_damaged_checkpoints(tmp_path):
    there = checkpoint(tmp_path / "runs/mine/version_0/checkpoints/best.ckpt")
    with pytest.raises(UserError, match=r"no checkpoint.*runs/mine/version_0/checkpoints/best\.ckpt"):
        plan(["test", "--ckpt_path", "runs/mine/version_0/checkpoints/beast.ckpt"])
    there.write_bytes(there.read_bytes()[:20])
    with pytest.raises(UserError, match="damaged"):
        plan(["test", "--ckpt_path", str(there)])


def test_last_without_anything_to_resume_starts_afresh_and_says_so(run, small, tmp_path):
    status, output = run("fit", *small, "--trainer.max_epochs=1", "--ckpt_path=last")
    assert status == 0
    assert "Starting afresh" in output
    assert (tmp_path / "runs" / "defaults" / "version_0" / "checkpoints" / "last.ckpt").exists()


@pytest.mark.parametrize(
    ("typed", "passed", "several"),
    [
        (["--data.images", "a b.jpg"], ["--data.images=a b.jpg"], ()),
        (["--data.images=*.jpg"], ["--data.images=*.jpg"], ()),
        (["--data.images"], ["--data.images"], ()),
        (["--data.images", "a", "b", "--model.tta", "true"], ["--model.tta", "true"], ("a", "b")),
        (["--data.images=a", "b"], [], ("a", "b")),
        (["--data.images", "a", "b", "--data.images", "c"], ["--data.images=c"], ()),
        (["--data.init_args.images", "caf\udce9"], [], ("caf\udce9",)),
    ],
)
def test_predict_takes_several_images_after_one_option(tmp_path, typed, passed, several):
    best = tmp_path / "runs" / "a" / "version_0" / "checkpoints" / "best.ckpt"
    checkpoint(best)
    (best.parents[1] / "config.yaml").write_text("model: {arch: resnet18}")
    plain, target = (plan(["predict", "--ckpt_path", str(best), *options]) for options in ([], typed))
    assert [option for option in target.argv if option not in plain.argv] == passed
    assert target.images == several
