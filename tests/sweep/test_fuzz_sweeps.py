"""Random, damaged sweep files: they are read, or refused with a line."""

from pathlib import Path

import pytest
import yaml
from hypothesis import strategies as st

from tests.helpers.fuzzing import CHANGE, DAMAGE, FEW_EXAMPLES, changed, damaged, fuzz
from tiny_imagenet.cli.arguments import CONFIGS
from tiny_imagenet.errors import UserError
from tiny_imagenet.sweep.definition import MOST_POINTS, read_sweep
from tiny_imagenet.sweep.dimensions import Range
from tiny_imagenet.sweep.storage import build_pruner

OWN = {
    "config": ["resnet18_aug.yaml"],
    "options": {"trainer.max_epochs": 2, "data.augment": []},
    "search": {
        "data.batch_size": [64, 128],
        "model.width": {"low": 0.25, "high": 1, "step": 0.25},
        "model.optimizer": {"sgd": {"model.optimizer.lr": 0.1}, "adam": {"class_path": "torch.optim.Adam"}},
    },
    "metric": "val/loss",
    "direction": "minimize",
    "trials": 5,
    "test": True,
    "pruner": {"class_path": "optuna.pruners.MedianPruner", "init_args": {"n_startup_trials": 2}},
    "storage": "journal://runs/a/study.log",
}
SWEEPS = [OWN, *(yaml.safe_load(path.read_text()) for path in sorted((CONFIGS / "sweeps").glob("*.yaml")))]


@pytest.mark.parametrize("examples", FEW_EXAMPLES)
def test_sweep_files(tmp_path, monkeypatch, examples):
    monkeypatch.chdir(tmp_path)
    path = Path("a.yaml")

    def check(content, changes, edits):
        text = yaml.safe_dump(changed(content, changes), allow_unicode=True, sort_keys=False)
        path.write_bytes(damaged(text.encode(), edits))
        try:
            sweep = read_sweep(["a.yaml"])
            build_pruner(sweep.pruner)
        except UserError as error:
            assert "\n" not in str(error)
            assert not Path("runs").exists()
            return str(error)[:40]
        if sweep.is_grid:
            points = sweep.points()
            assert 1 <= len(points) <= MOST_POINTS
        else:
            points = [{k: v.low if isinstance(v, Range) else next(iter(v)) for k, v in sweep.search.items()}]
        for point in points[:3]:
            for argument in sweep.arguments(point):
                assert argument.startswith("--") and "\0" not in argument
                assert argument.partition("=")[0] not in ("--ckpt_path", "--name", "--trainer.default_root_dir")
                argument.encode()
        return "read"

    changes = st.lists(CHANGE, max_size=3)
    fuzz(check, examples, st.sampled_from(SWEEPS), changes, st.just([]) | st.just([]) | DAMAGE)
