"""Runs that are resumed with a changed config: which changes are reported, and which are refused."""

from tests.helpers.recipes import EMA, ONE_CYCLE


def test_resuming_with_a_changed_config_says_so_or_refuses(run, small, finished):
    config = finished(*small) / "config.yaml"
    status, output = run("fit", *small, "--ckpt_path=last", "--trainer.max_epochs=3", "--model.label_smoothing=0.1")
    assert status == 0, output
    assert "trainer.max_epochs: 2 -> 3" in output
    assert "model.label_smoothing: 0.0 -> 0.1" in output
    before = config.read_text()
    status, output = run("fit", *small, "--ckpt_path=last", "--model.arch=resnet34")
    assert status == 1
    assert "model.arch: resnet18 -> resnet34" in output
    status, output = run("fit", *small, "--ckpt_path=last", "--model.optimizer.lr=0.01")
    assert status == 1
    assert "model.optimizer.init_args.lr: 0.1 -> 0.01" in output
    best = config.with_name("checkpoints") / "best.ckpt"
    status, output = run("fit", *small, f"--ckpt_path={best}", "--model.arch=resnet34")
    assert status == 1
    assert "model.arch: resnet18 -> resnet34" in output
    for option in ("--seed_everything=1", "--model.freeze=[conv1]"):
        status, output = run("fit", *small, "--ckpt_path=last", option)
        assert status == 1
        assert f"these settings changed: {option[2:].partition('=')[0]}: " in output
    status, output = run("fit", *small, "--ckpt_path=last", "--data.batch_size=8")
    assert status == 1
    assert "batches" in output
    status, output = run("fit", *small, "--ckpt_path=last", "--data.classes=2")
    assert status == 1
    assert "4 classes" in output
    assert config.read_text() == before, "refused changes are not recorded"


def test_resuming_with_fewer_epochs_than_trained(run, small, finished):
    finished(*small)
    status, output = run("fit", *small, "--ckpt_path=last", "--trainer.max_epochs=1")
    assert status == 1 and "error: You restored a checkpoint with current_epoch=2" in output
    assert "Traceback" not in output


def test_a_schedule_that_would_end_too_early_is_refused(run, small):
    assert run("fit", *small, *ONE_CYCLE, "--trainer.max_epochs=1")[0] == 0
    status, output = run("fit", *small, *ONE_CYCLE, "--trainer.max_epochs=3", "--ckpt_path=last")
    assert status == 1
    assert "schedule ends after 8 steps, and this training after 24" in output and "Traceback" not in output


def test_an_average_cannot_be_dropped_when_resuming(run, small):
    assert run("fit", *small, *EMA, "--trainer.max_epochs=1")[0] == 0
    status, output = run("fit", *small, "--ckpt_path=last")
    assert status == 1
    assert "these settings changed: trainer.callbacks: EMA is missing" in output


def test_a_run_with_a_single_callback_is_resumed(run, small, tmp_path):
    (tmp_path / "average.yaml").write_text("trainer: {callbacks: {class_path: EMA, init_args: {decay: 0.9}}}")
    fit = ["fit", *small, "--config=average.yaml"]
    assert run(*fit, "--trainer.max_epochs=1")[0] == 0
    status, output = run(*fit, "--ckpt_path=last")
    assert status == 0, output
