"""Sweep files: errors in them, and the shipped ones."""

from pathlib import Path

import pytest
import torch
from sqlalchemy.engine import make_url

from tests.helpers.sweeping import enter, sweep, write_sweep
from tiny_imagenet.cli.arguments import CONFIGS
from tiny_imagenet.errors import UserError
from tiny_imagenet.sweep.definition import read_sweep
from tiny_imagenet.sweep.storage import build_pruner, storage_error, without_password


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    return enter(tmp_path, monkeypatch)


@pytest.mark.parametrize("keys, message", [
    ({"serach": {}}, "no key 'serach'. Did you mean search"),
    ({"search": {}}, "search: is empty"),
    ({"search": {"model.width": [0.5]}, "config": "resnet81_aug.yaml"}, "no config 'resnet81_aug.yaml'"),
    ({"search": {"config": ["resnet18_agu.yaml"]}}, "no config 'resnet18_agu.yaml'"),
    ({"search": {"model.width": [0.5]}, "config": 18}, "sizes.yaml: config: must be the name of a config"),
    ({"search": {"config": [["quickstart.yaml", 18]]}}, "or a list of names, not 18."),
    ({"search": {"config": {"low": 1, "high": 2}}, "trials": 3}, "or a list of names, not 1."),
    ({"search": {"model.width": [0.5]}, "metric": None}, "metric: must be text, not None"),
    ({"search": {"model.width": [0.5]}, "storage": 5}, "storage: must be text, not 5"),
    ({"search": {"model.width": [0.5]}, "storage": "sqlite:////dev/null/x.db"}, "null/x.db cannot be opened"),
    ({"search": {"model.width": [0.5]}, "options": {"ckpt_path": "a.ckpt"}}, "options: remove ckpt_path, which a"),
    ({"search": {"ckpt_path": ["a.ckpt", "b.ckpt"]}}, "search: remove ckpt_path, which a sweep sets by itself"),
    ({"search": {"ckpt_path": {"low": 1, "high": 2}}, "trials": 2}, "search: remove ckpt_path"),
    ({"search": {"model.width": [0.5]}, "options": {"ckpt_path=a": "b"}}, "options: remove ckpt_path"),
    ({"search": {"model.width": [0.5]}, "options": {"name": "../x"}}, "options: remove name"),
    ({"search": {"model.width": [0.5]}, "options": {"config": "x.yaml"}}, "options: remove config"),
    ({"search": {"a": {"b": {"trainer.default_root_dir": "/x"}}}}, "search: remove trainer.default_root_dir"),
    ({"search": {"model.width": [0.5]}, "options": {"data.root": "a\0b"}}, "data.root=a\\x00b has characters that no"),
    ({"search": {"model.width": [0.5]}, "options": {"\x1b[2J": 1, "name": 1}}, "options: remove name"),
    ({"search": {f"data.o{n}": list(range(10)) for n in range(9)}}, "search: has 1,000,000,000 points, more than"),
    ({"search": {"model.width": {"low": 0, "high": 10**400}}, "trials": 3}, "finite numbers low < high, up to 1e+15"),
    ({"search": {"model.width": {"low": 0, "high": 1, "step": 1e-300}}, "trials": 3}, "at most 1,000,000,000 steps"),
    ({"search": {"model.width": {"low": False, "high": True}}, "trials": 3}, "finite numbers"),
    ({"search": {"model.width": {"low": [1], "high": {}}}, "trials": 3}, "finite numbers"),
    ({"search": {"model.width": {"low": 0.5, "high": 1}}, "trials": True}, "needs trials"),
    ({"search": [1]}, "search: must map options"),
    ({"search": {"model.width": 3}}, "must be a list of values"),
    ({"search": {"model.width": [0.5]}, "options": "text"}, "options: must map options"),
    ({"search": {"model.width": {"low": 0.5, "hihg": 1.0}}}, "no 'hihg'. Did you mean high"),
    ({"search": {"model.width": {"low": 1, "high": 0.5}}, "trials": 3}, "low < high"),
    ({"search": {"model.width": {"low": 0, "high": 0.5, "log": True}}, "trials": 3}, "log: true with low > 0"),
    ({"search": {"model.width": {"low": 0.5, "high": float("inf")}}, "trials": 3}, "finite numbers"),
    ({"search": {"model.width": {"low": 0.5, "high": 1, "step": 0}}, "trials": 3}, "a step > 0"),
    ({"search": {"model.width": {"low": 0.5, "high": 1}}}, "needs trials"),
    ({"search": {"model.width": [0.5]}, "trials": 3}, "remove trials:, which is for ranges"),
    ({"search": {"model.optimizer": [{"class_path": "torch.optim.SGD"}]}}, "need names"),
    ({"search": {"model.width": [0.5]}, "direction": "up"}, "maximize or minimize"),
    ({"search": {"model.width": [0.5]}, "pruner": {"class_path": "optuna.pruners.Median"}}, "optuna.pruners.Median"),
    ({"search": {"model.width": [0.5]}, "pruner": {"class_path": "optuna.pruners.NopPruner", "a": 1}}, "no key 'a'"),
    ({"search": {"model.width": [0.5]}, "storage": "nosql://x"}, "storage: nosql://x cannot be opened"),
    ({"search": {"model.width": [0.5]}, "storage": "journal://"}, "storage: journal:// cannot be opened: name a file"),
    ({"search": {"model.width": [0.5]}, "storage": "journal://."}, "storage: journal://. cannot be opened: name a fil"),
    ({"search": {"model.width": [0.5]}, "storage": "journal:///dev/null/x.log"}, "x.log cannot be opened: "),
])  # fmt: skip
def test_errors_in_the_file(folder, keys, message):
    status = sweep(write_sweep(**keys))
    assert str(status).startswith("error: ") and message in status
    assert not Path("starts.txt").exists()


@pytest.mark.parametrize("keys", [
    {"pruner": {"class_path": "a\nb"}},
    {"pruner": {"class_path": "optuna.pruners.a\nb"}},
    {"storage": "sqlite:///a\nb"},
    {"config": "a\nb"},
    {"a\nb": 1},
])  # fmt: skip
def test_a_line_break_in_the_file_breaks_no_message(folder, keys):
    path = write_sweep(**{"search": {"model.width": [0.5]}} | keys)
    with pytest.raises(UserError, match=r"a\\nb") as error:
        build_pruner(read_sweep([path]).pruner)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        *(b"search: {} # caf\xe9", b"[" * 3000, b"a: !!int ''", b"2026-13-01", b"a: [", b"\0", b"", b"9" * 5000),
        *(b"search: {a: !!set {b, c}}", b"search: {a: !!binary QUJD}", b"search: {? !!binary QUJD : 1}", b"&a [*a]"),
        b"".join(b"? &a%d [%s]\n" % (n, b",".join([b"*a%d" % (n - 1)] * 10) if n else b"x") for n in range(20)),
    ],
)
def test_a_file_that_is_not_one_of_sweeps(folder, content):
    Path("sizes.yaml").write_bytes(content)
    status = str(sweep("sizes.yaml"))
    assert status.startswith("error: sizes.yaml is not a sweep file: ") and "\n" not in status


def test_a_folder_that_cannot_be_made(folder):
    Path("runs").touch()
    assert sweep(write_sweep(search={"model.score": [0.5]})) == "error: runs/sizes: Not a directory."


@pytest.mark.parametrize("url, shown", [
    ("postgresql://user:secret@host/db", "postgresql://user:***@host/db"),  # no driver, or no such host
    ("postgresql//user:secret@host/db", "postgresql//user:***@host/db"),  # cannot be parsed
    ("postgresql://user:secret@host:port/db", "postgresql://user:***@host:port/db"),  # nor can its port
    ("postgresql:user:secret@host/db", "postgresql:***@host/db"),
    ("postgresql://user:sec@ret@host/db", "postgresql://user:***@host/db"),  # @ should be %40
    ("nosql://host/db?user=a&password=secret&x=1", "nosql://host/db?user=a&password=***&x=1"),
])  # fmt: skip
def test_password_of_the_storage_is_not_printed(folder, capfd, url, shown):
    status = sweep(write_sweep(search={"model.score": [0.5]}, storage=url))
    assert f"error: storage: {shown} cannot be opened: " in status
    out, err = capfd.readouterr()
    assert not any(part in status + out + err for part in ("secret", "sec@", "ret@"))


def test_password_is_removed_from_what_the_driver_says():
    url = "postgresql://user:s%20ecret@host/db"
    error = RuntimeError(f"cannot connect to {url}: password 's ecret' of user 'user' is wrong")
    assert storage_error(url, "cannot be used", error) == (
        "storage: postgresql://user:***@host/db cannot be used: "
        "cannot connect to postgresql://user:***@host/db: password '***' of user 'user' is wrong"
    )


@pytest.mark.parametrize("url", [
    "postgresql+psycopg2://user:secret@host:5432/db", "postgresql://user%40corp:s%40%2Fe@host/db", "mysql://:secret@host",
])  # fmt: skip
def test_password_is_hidden_as_sqlalchemy_hides_it(url):
    assert without_password(url) == make_url(url).render_as_string(hide_password=True)


@pytest.mark.parametrize("url", ["sqlite:///runs/a@b/study.db", "postgresql://user@host:5432/db", "mysql://host/db"])
def test_storage_without_a_password_is_printed_as_it_is(url):
    assert without_password(url) == url


def test_sweep_files_are_found_by_name(folder):
    assert read_sweep(["batch_size"]).name == read_sweep(["configs/sweeps/batch_size.yaml"]).name == "batch_size"
    with pytest.raises(UserError, match="batch_size.yaml"):
        read_sweep(["batchsize.yaml"])


def test_config_of_the_command_line_overlays_each_config_searched(folder):
    ten = read_sweep(["resnets.yaml", "--config", "published_aug.yaml"])
    assert ten.arguments(ten.points()[0]) == ["--config=resnet18_baseline.yaml", "--config=published_aug.yaml"]


def test_a_choice_of_no_options_changes_nothing(folder):
    search = {"change": {"none": {}, "wide": {"model.width": 1.0, "data.batch_size": 64}}, "model.unfreeze_at": [None]}
    changes = read_sweep([write_sweep(search=search)])
    none, wide = (changes.arguments(point)[-3:] for point in changes.points())
    assert not any("change" in argument or "width" in argument for argument in none)
    assert wide == ["--model.width=1.0", "--data.batch_size=64", "--model.unfreeze_at=null"]


SWEEPS = sorted((CONFIGS / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_shipped_sweep_is_accepted_by_the_command_line(path, parsed):
    text = path.read_text()
    assert len(text.splitlines()) <= 25
    assert f"tiny_imagenet.sweep {path.name}" in text and "Measured:" in text
    shipped = read_sweep([path.name])
    points = shipped.points() if shipped.is_grid else [{"model.width": 0.25, "model.blocks": "[2, 1, 1, 1]"}]
    # tests/test_configs.py tests all configs, so a few are enough here.
    for point in points[::9] if "config" in shipped.search or path.stem == "learning_rate" else points:
        model = parsed(*shipped.arguments(point)).model
        optimizer = model.optimizer([torch.nn.Parameter(torch.zeros(1))])
        if path.stem == "learning_rate":
            assert optimizer.defaults["lr"] == float(point["model.optimizer.init_args.lr"])
        if path.stem == "optimizers":
            assert ("lookahead_k" in optimizer.defaults) == ("lookahead" in point["model.optimizer"])
            assert ("betas" in optimizer.defaults) == ("adam" in point["model.optimizer"])
            rate, decay = (optimizer.defaults[name] for name in ("lr", "weight_decay"))
            assert (rate, decay) == (0.001 if "adam" in point["model.optimizer"] else 0.1, 5e-4)


def test_ten_model_sweep_has_every_depth_with_and_without_augmentation():
    points = [point["config"] for point in read_sweep(["resnets.yaml"]).points()]
    assert set(points) == {f"resnet{n}_{kind}.yaml" for n in (18, 34, 50, 101, 152) for kind in ("baseline", "aug")}
