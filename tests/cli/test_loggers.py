"""Loggers beside TensorBoard."""

import csv
import json

import pytest
import yaml

from tests.helpers.paths import ROOT
from tiny_imagenet.cli.loggers import IDS, logger_option
from tiny_imagenet.errors import UserError

RUN = ROOT / "runs" / "a" / "version_0"


def loggers(*options, configs=(), run=RUN):
    option, others = logger_option(configs, options, run)
    assert not others
    return json.loads(option.partition("=")[2])


def names(specs):
    return [spec["class_path"] for spec in specs]


def config(path, logger):
    path.write_text(yaml.safe_dump({"trainer": {"logger": logger}}))
    return path


def test_tensorboard_is_the_default_and_lies_in_the_run():
    for options in ([], ["--trainer.logger=true"], ["--trainer.logger", "null"]):
        (spec,) = loggers(*options)
        assert spec["class_path"] == "TensorBoardLogger"
        assert spec["init_args"] == {"save_dir": str(RUN), "name": "", "version": "", "default_hp_metric": False}
    assert loggers("--trainer.logger=false") is False


def test_others_come_beside_it_each_in_a_folder_of_its_own():
    specs = loggers("--trainer.logger", "[CSVLogger, WandbLogger]")
    assert names(specs) == ["TensorBoardLogger", "CSVLogger", "WandbLogger"]
    assert specs[1]["init_args"] == {"save_dir": str(RUN), "name": "csv", "version": None}
    elsewhere = "{class_path: CSVLogger, init_args: {save_dir: /tmp, name: docs, version: ''}}"
    (_, spec) = loggers(f"--trainer.logger={elsewhere}")
    assert spec["init_args"] == specs[1]["init_args"], "nothing is written outside the run"
    assert specs[2]["init_args"]["save_dir"] == str(RUN) and specs[2]["dict_kwargs"] == {"resume": "allow"}


def test_the_user_s_tensorboard_is_the_run_s_with_its_options():
    (spec,) = loggers("--trainer.logger={class_path: TensorBoardLogger, init_args: {save_dir: x, log_graph: true}}")
    assert spec["init_args"]["save_dir"] == str(RUN) and spec["init_args"]["log_graph"] is True


def test_options_win_over_later_configs_over_earlier_ones(tmp_path):
    configs = [config(tmp_path / "a.yaml", "CSVLogger"), config(tmp_path / "b.yaml", ["MLFlowLogger"])]
    assert names(loggers(configs=configs))[1:] == ["MLFlowLogger"]
    assert names(loggers("--trainer.logger=WandbLogger", configs=configs))[1:] == ["WandbLogger"]
    assert names(loggers("--trainer.logger+=CSVLogger", configs=configs))[1:] == ["MLFlowLogger", "CSVLogger"]


def test_options_of_a_logger_and_what_is_no_logger_s():
    option, others = logger_option(
        [], ["--a", "--trainer.logger", "CSVLogger", "--trainer.logger.flush_logs_every_n_steps=5", "--b=1"], RUN
    )
    assert others == ["--a", "--b=1"]
    assert json.loads(option.partition("=")[2])[1]["init_args"]["flush_logs_every_n_steps"] == 5
    with pytest.raises(UserError, match="name the logger first"):
        logger_option([], ["--trainer.logger.offline=true"], RUN)
    with pytest.raises(UserError, match="3 is not a logger"):
        logger_option([], ["--trainer.logger=3"], RUN)


def test_a_resumed_run_keeps_its_id_and_a_new_one_gets_another(tmp_path):
    first, second = (loggers("--trainer.logger=WandbLogger", run=tmp_path)[1]["init_args"]["id"] for _ in range(2))
    assert first != second
    (tmp_path / IDS).write_text(json.dumps({"WandbLogger": "abc", "MLFlowLogger": "def"}))
    assert loggers("--trainer.logger=WandbLogger", run=tmp_path)[1]["init_args"]["id"] == "abc"
    assert loggers("--trainer.logger=MLFlowLogger", run=tmp_path)[1]["init_args"]["run_id"] == "def"
    for damaged in ("[1", "[" * 10**5):
        (tmp_path / IDS).write_text(damaged)
        assert loggers("--trainer.logger=WandbLogger", run=tmp_path)[1]["init_args"]["id"] not in ("abc", first)


def test_lightning_s_csv_logger_and_the_run_s_own_table_live_side_by_side(run, small, tmp_path):
    fit = ["fit", *small, "--trainer.logger=CSVLogger", "--trainer.log_every_n_steps=1"]
    assert run(*fit, "--trainer.max_epochs=1")[0] == 0
    version = tmp_path / "runs" / "defaults" / "version_0"
    first = (version / "csv" / "version_0" / "metrics.csv").read_text()
    status, output = run(*fit, "--ckpt_path=last")
    assert status == 0, output
    assert (version / "csv" / "version_0" / "metrics.csv").read_text() == first, "the earlier rows are kept"
    steps = [int(row["step"]) for row in csv.DictReader((version / "csv" / "version_1" / "metrics.csv").open())]
    assert min(steps) >= 7 and max(steps) == 15
    assert len((version / "metrics.csv").read_text().splitlines()) == 3
    assert list(version.glob("events.out.tfevents.*"))


@pytest.mark.parametrize("logger", ["WandbLogger", "MLFlowLogger"])
def test_services_continue_the_same_run(run, small, tmp_path, monkeypatch, logger):
    pytest.importorskip({"WandbLogger": "wandb", "MLFlowLogger": "mlflow"}[logger])
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    fit = ["fit", *small, f"--trainer.logger={logger}"]
    status, output = run(*fit, "--trainer.max_epochs=1")
    assert status == 0, output
    ids = tmp_path / "runs" / "defaults" / "version_0" / IDS
    before = json.loads(ids.read_text())
    assert before.keys() == {logger}
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # which MLflow has set for its process
    status, output = run(*fit, "--ckpt_path=last")
    assert status == 0 and json.loads(ids.read_text()) == before, output


def test_a_logger_whose_package_is_missing_says_how_to_get_it(run, small, tmp_path):
    status, output = run("fit", *small, "--trainer.logger=CometLogger")
    assert status == 1 and "needs a package that is not installed: pip install -U" in output
    assert "comet" in output and "Traceback" not in output and not (tmp_path / "runs").exists()
