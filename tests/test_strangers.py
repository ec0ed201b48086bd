"""Untrusted configs, sweep files and checkpoints: real attacks, which succeed without this project's guards.

Each runs twice: `guarded` must refuse it, and in `open` it must succeed, which shows that the attack is real.
"""

import os
import sys
import time

import fsspec
import pytest
import torch
import yaml
from jsonargparse import _common, _util, set_parsing_settings

from tests.helpers.checkpoints import write_empty
from tests.helpers.sweeping import enter, sweep, write_sweep
from tiny_imagenet.cli import allowed, lightning_cli
from tiny_imagenet.cli.arguments import plan
from tiny_imagenet.errors import UserError
from tiny_imagenet.sweep.definition import read_sweep

MARKER = "attacked"


class Payload:
    def __reduce__(self):
        return os.system, (f"touch {MARKER}",)


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    """A working directory with files from strangers. Restores jsonargparse's settings afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    code = f"open({MARKER!r}, 'w').close()\nfrom lightning.pytorch import Callback\nclass Code(Callback): pass\n"
    (tmp_path / "strange.py").write_text(code)
    (tmp_path / "hubconf.py").write_text(f"def model(): open({MARKER!r}, 'w').close()\n")
    (tmp_path / "other.yaml").write_text("trainer: {callbacks: strange.Code}\n")
    (tmp_path / "part.yaml").write_text("class_path: strange.Code\n")
    fsspec.filesystem("memory").pipe("/part.yaml", b"class_path: strange.Code\n")
    torch.save({"state_dict": {}, "attack": Payload()}, "strange.ckpt")
    for name, value in _common.parsing_settings.items():
        monkeypatch.setitem(_common.parsing_settings, name, value)
    set_parsing_settings(config_read_mode_fsspec_enabled=True)  # as Lightning sets it
    yield tmp_path
    sys.modules.pop("strange", None)


@pytest.fixture(params=["guarded", "open"])
def guarded(request, monkeypatch):
    """Whether this project's guards are active; `open` is jsonargparse as Lightning configures it."""
    if request.param == "open":
        monkeypatch.setattr(allowed, "restrict_configs", lambda: None)
        monkeypatch.setattr(allowed, "users_modules", lambda: ["strange", "tests", "torch"])
        monkeypatch.setattr(lightning_cli.Cli, "before_instantiate_classes", lambda self: None)
        defaults = {"import_path_verdicts": {}, "import_paths_enforced": False, "validate_subclass_spec_in_any": False}
        for name, value in (defaults | {"instantiate_subclass_spec_in_any": True}).items():
            monkeypatch.setitem(_common.parsing_settings, name, value)
    return request.param == "guarded"


def spec(name, **arguments):
    return {"class_path": name, "init_args": arguments}


def callback(name, **arguments):
    return {"trainer": {"callbacks": [spec(name, **arguments)]}}


def of_any_type(name, **arguments):
    """DDP's `ddp_comm_state` may be any object."""
    return {"trainer": {"strategy": spec("DDPStrategy", ddp_comm_state=spec(name, **arguments))}}


CODE = {"class_path": "strange.Code"}  # importing the module runs code
TORCH_CLASS = "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler"
START = {"entrypoint": "touch", "args": [MARKER], "env": {}, "stdout": "", "stderr": "", "local_rank_id": 0}
UNPICKLE = {"f": "strange.ckpt", "weights_only": False}
COPY = {"src": "strange.py", "dst": MARKER}
EXPRESSION = {"signature": "x", "expr": f"__import__('os').system('touch {MARKER}')"}

# Where a config may name a class.
PLACES = {
    "optimizer": {"model": {"optimizer": CODE}},
    "optimizer by name": {"model": {"optimizer": "strange.Code"}},
    "scheduler": {"model": {"scheduler": CODE}},
    "callbacks": {"trainer": {"callbacks": [CODE]}},
    "one callback": {"trainer": {"callbacks": "strange.Code"}},
    "logger": {"trainer": {"logger": CODE}},
    "strategy": {"trainer": {"strategy": CODE}},
    "plugins": {"trainer": {"plugins": [CODE]}},
    "profiler": {"trainer": {"profiler": CODE}},
    "accelerator": {"trainer": {"accelerator": CODE}},
    "data": {"data": CODE},
    "augment": {"data": spec("TinyImageNetDataModule", augment=[CODE])},
    "mix": {"data": spec("TinyImageNetDataModule", mix=CODE)},
    "inner optimizer": {"model": {"optimizer": spec("tiny_imagenet.optim.Lookahead", optimizer=CODE)}},
    "number": {"model": {"optimizer": spec("torch.optim.SGD", lr=CODE)}},
    "list of functions": {"model": {"scheduler": spec("torch.optim.lr_scheduler.LambdaLR", lr_lambda="strange.Code")}},
    "function": callback("StochasticWeightAveraging", swa_lrs=0.1, avg_fn="strange.Code"),
    "part of a plugin": {"trainer": {"plugins": [spec("lightning.pytorch.plugins.MixedPrecision", scaler=CODE)]}},
    "value in a dictionary": {"trainer": {"logger": spec("MLFlowLogger", tags={"tag": CODE})}},
    "config named in a config": {"config": "other.yaml"},
    "part in a file": {"model": {"optimizer": "part.yaml"}},
}  # fmt: skip

# Name expected in the message → a config that uses it.
ELSEWHERE = {
    TORCH_CLASS: of_any_type(TORCH_CLASS, **START),
    "torch.hub.load": of_any_type("torch.hub.load", repo_or_dir=".", model="model", source="local"),
    # Through allowed modules that import others:
    "torch.serialization.load": of_any_type("tiny_imagenet.models.weights.torch.load", **UNPICKLE),
    "shutil.copyfile": of_any_type("lightning.pytorch.callbacks.model_checkpoint.shutil.copyfile", **COPY),
    # Evaluates its arguments:
    "sympy.Lambda": callback("LambdaCallback", on_fit_start={"class_path": "sympy.Lambda", "dict_kwargs": EXPRESSION}),
}  # fmt: skip


@pytest.fixture
def not_run(monkeypatch):
    """Only parse the command line and instantiate the classes that it names."""
    monkeypatch.setattr(lightning_cli.Cli, "_run_subcommand", lambda self, subcommand: None)


@pytest.fixture
def attack(workdir, run, guarded):
    """Run a command with a stranger's config, and check whether the attack succeeds.

    Returns the output if the attack was refused as expected, and None if it succeeded as expected.
    """

    def attack(config: dict, *options: str, status: int = 2, command: str = "fit") -> str | None:
        (workdir / "strange.yaml").write_text(yaml.safe_dump(config))
        try:
            found, output = run(command, "--config=strange.yaml", *options)
        except Exception as error:
            found, output = error, ""  # After its code has run, any outcome will do.
        if guarded:
            assert (found, (workdir / MARKER).exists()) == (status, False), output
            assert "Traceback" not in output
            return output
        deadline = time.monotonic() + 10  # one attack starts another process
        while not (workdir / MARKER).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert (workdir / MARKER).exists(), f"the attack is not real: {found} {output}"

    return attack


@pytest.mark.parametrize(
    "config, name",
    [pytest.param(config, "strange.Code", id=place) for place, config in PLACES.items()]
    + [pytest.param(config, name, id=name) for name, config in ELSEWHERE.items()],
)
def test_config_that_names_a_class(attack, not_run, config, name):
    if (message := attack(config)) is not None:
        assert f": a config may not name {name}, since" in message
        assert "set TINY_IMAGENET_ALLOW=MODULE in the environment" in message


def test_an_option_that_takes_any_object_instantiates_none(not_run, workdir, monkeypatch):
    """Not even an object of an allowed class."""
    monkeypatch.setattr(sys, "argv", ["training.py"])
    (workdir / "strange.yaml").write_text(yaml.safe_dump(of_any_type("lightning.pytorch.callbacks.Timer")))
    state = lightning_cli.Cli(plan(["fit", "--config=strange.yaml"])).trainer.strategy._ddp_comm_state
    assert state["class_path"] == "lightning.pytorch.callbacks.Timer"


def test_option_that_a_sweep_file_sets(attack, not_run):
    if (message := attack({}, "--trainer.callbacks+=strange.Code")) is not None:
        assert "trainer.callbacks: a config may not name strange.Code" in message


def test_config_with_a_part_elsewhere(attack, not_run):
    if (message := attack({"model": {"optimizer": "memory://part.yaml"}})) is not None:
        assert "Expected a path but memory://part.yaml either not accessible" in message


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_config_beside_a_checkpoint(attack, not_run, workdir, command):
    write_empty(workdir / "strange.ckpt")
    (workdir / "config.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [CODE]}}))
    if (message := attack({}, "--ckpt_path=strange.ckpt", command=command)) is not None:
        assert "trainer.callbacks: a config may not name strange.Code" in message


def test_config_beside_a_checkpoint_that_chooses_where_to_write(run, checkpoint, workdir):
    version = checkpoint.parents[1]
    victim = workdir / "victim"
    victim.mkdir()
    (victim / "metrics.csv").write_text("mine")
    profiler = {"class_path": "SimpleProfiler", "init_args": {"dirpath": str(victim), "filename": "a"}}
    logger = {"class_path": "CSVLogger", "init_args": {"save_dir": str(victim), "name": "", "version": ""}}
    config = yaml.safe_load((version / "config.yaml").read_text())
    config["trainer"] |= {"default_root_dir": str(victim), "logger": logger, "profiler": profiler}
    (version / "config.yaml").write_text(yaml.safe_dump(config))
    status, output = run("test", f"--ckpt_path={version / 'checkpoints' / 'last.ckpt'}")
    assert status == 0, output
    assert (version / "test_metrics.json").is_file()
    assert [path.name for path in victim.iterdir()] == ["metrics.csv"]
    assert (victim / "metrics.csv").read_text() == "mine"


def test_config_with_a_checkpoint_that_runs_code(attack, small):
    config = {"ckpt_path": "strange.ckpt", "weights_only": False}
    if (message := attack(config, *small, status=1)) is not None:
        assert "ckpt_path: strange.ckpt is set in a config; give it on the command line" in message


def test_checkpoint_of_a_slurm_job_that_runs_code(run, small, workdir, monkeypatch):
    """Lightning looks for one by itself, in the folder that a config may set."""
    for name, value in {"NTASKS": "1", "JOB_ID": "1", "JOB_NAME": "train", "PROCID": "0", "LOCALID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setattr("lightning.fabric.plugins.environments.slurm.SLURMEnvironment.detect", lambda: True)
    (workdir / "strange.ckpt").rename(workdir / "hpc_ckpt_1.ckpt")
    config = {"weights_only": False, "trainer": {"default_root_dir": str(workdir)}}
    (workdir / "strange.yaml").write_text(yaml.safe_dump(config))
    status, output = run("fit", "--config=strange.yaml", *small, "--trainer.devices=1")
    assert status == 1 and "trainer.default_root_dir is set in a config; give it on the command line" in output
    assert not (workdir / MARKER).exists()


def test_yaml_that_runs_code(run, workdir):
    text = f"model: {{optimizer: !!python/object/apply:os.system ['touch {MARKER}']}}"
    yaml.unsafe_load(text)
    (workdir / MARKER).unlink()  # the attack is real
    (workdir / "strange.yaml").write_text(text)
    status, output = run("fit", "--config=strange.yaml")
    assert (status, (workdir / MARKER).exists()) == (1, False)
    assert "the YAML tag !!python/object/apply:os.system, which no plain value has" in output
    with pytest.raises(UserError, match="python/object/apply:os.system"):
        read_sweep(["strange.yaml"])
    assert not (workdir / MARKER).exists()


@pytest.mark.parametrize("pruner, message", [
    (CODE, "pruner: a config may not name strange.Code, since a class can run any code"),
    ({"class_path": "optuna.pruners._base.abc"}, "it is not a pruner"),
])  # fmt: skip
def test_sweep_file_that_names_a_class(workdir, monkeypatch, guarded, pruner, message):
    enter(workdir, monkeypatch)
    status = sweep(write_sweep(search={"model.score": [0.5]}, pruner=pruner))
    assert str(status).startswith("error: pruner")
    assert (workdir / MARKER).exists() == (not guarded and not pruner["class_path"].startswith("optuna"))
    assert not guarded or message in status


def test_user_adds_a_module(run, not_run, workdir, monkeypatch):
    monkeypatch.setenv("TINY_IMAGENET_ALLOW", "my_package.parts, strange")
    (workdir / "mine.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [CODE]}}))
    assert run("fit", "--config=mine.yaml")[0] == 0
    assert (workdir / MARKER).exists()


@pytest.mark.parametrize("value", ["*", "jsonargparse", "my-package", "code/mine.py"])
def test_only_a_module_can_be_added(run, monkeypatch, value):
    monkeypatch.setenv("TINY_IMAGENET_ALLOW", value)
    status, output = run("fit")
    assert status == 1 and f"TINY_IMAGENET_ALLOW: '{value}' is not the name of a module" in output


@pytest.mark.parametrize("name", [
    "torch.optim.swa_utils.SWALR", "torchvision.transforms.v2.RandomErasing", "lightning.pytorch.loggers.CSVLogger",
    "lightning.pytorch.strategies.FSDPStrategy", "lightning.pytorch.profilers.PyTorchProfiler",
    "lightning.pytorch.plugins.environments.SLURMEnvironment", "lightning.pytorch.plugins.io.AsyncCheckpointIO",
])  # fmt: skip
def test_classes_in_no_shipped_config_are_allowed_too(name):
    """By their documented names, wherever they are defined."""
    allowed.restrict_configs()
    assert _util.import_object(name).__name__ == name.rpartition(".")[2]
