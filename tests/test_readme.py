"""README.md and docs/: their commands are accepted, their programs run, and the files and configs they name exist."""

import ast
import gc
import io
import re
import shlex
from contextlib import redirect_stdout
from functools import partial

import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from tests.helpers.pages import DOCS, PAGES, blocks, commands, links, sections
from tests.helpers.paths import ROOT
from tests.helpers.runs import write_run
from tests.helpers.tables import table
from tiny_imagenet import ImageClassifier, TinyImageNetDataModule
from tiny_imagenet.cli.arguments import CONFIGS
from tiny_imagenet.export.__main__ import parser as export_parser
from tiny_imagenet.export.source import read_source
from tiny_imagenet.models import build_resnet
from tiny_imagenet.report.__main__ import main as report
from tiny_imagenet.run.metric_names import STAGES
from tiny_imagenet.sweep.definition import read_sweep

RESULTS = sorted((ROOT / "results").glob("*/README.md"))
COMMANDS = [command for page in PAGES for command in commands(page)]
TRAINING = ("python training.py", "python -m tiny_imagenet ")


def kind(text: str) -> str:
    """By which test a command is checked."""
    if text.startswith("torchrun") or (text.startswith(TRAINING) and " fit " in text and ".help" not in text):
        return "page" if "--help" in text else "fit"
    if text.startswith(TRAINING):
        return "evaluation" if "--ckpt_path" in text else "page"
    first, *words = text.split()
    if first == "python":
        return words[1].removeprefix("tiny_imagenet.")
    return first


def of_kind(*kinds: str):
    found = {command.text: command for command in COMMANDS if kind(command.text) in kinds}
    return pytest.mark.parametrize("command", [pytest.param(text, id=str(found[text])) for text in found])


def test_every_command_is_checked_or_another_program_s():
    checked = {"fit", "evaluation", "page", "sweep", "report", "export", "benchmark", "make"}
    others = {"source", "tensorboard", "tmux", "ssh"}
    assert {kind(command.text) for command in COMMANDS} == checked | others
    assert {"make quickstart", "python training.py fit --config resnet50_aug.yaml"} <= {c.text for c in COMMANDS}


@of_kind("fit")
def test_a_fit_is_accepted(command, parsed):
    argv = shlex.split(command.partition(" fit ")[2])
    if "--trainer.devices" in argv:  # the number of devices of the machine in the page
        argv += ["--trainer.devices", "2", "--trainer.accelerator", "cpu"]
    if "--trainer.num_nodes" in argv:
        argv += ["--trainer.num_nodes", "1"]
    assert parsed(*argv).model.hparams.arch.startswith("resnet")


@of_kind("page")
def test_a_page_of_help_is_shown(command, run):
    status, output = run(*shlex.split(command)[2:])
    assert status == 0 and len(output.splitlines()) > 5, output


@of_kind("sweep")
def test_a_sweep_is_accepted(command, parsed):
    sweep = read_sweep(shlex.split(command)[3:])
    assert parsed(*sweep.arguments(sweep.points()[-1])).model.hparams.arch.startswith("resnet")


@pytest.fixture
def finished_resnet50(finished, small):
    """A run like the pages' ResNet-50, but with a small ResNet-18."""
    return finished("--config=resnet50_aug.yaml", *small, "--model.arch=resnet18")


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.effect_mandelbrot((60, 50), (-2, -1, 1, 1), 50).save(tmp_path / "photos" / "cat.jpg")


@of_kind("evaluation")
def test_an_evaluation_takes_its_config_from_the_run(command, run, finished_resnet50, photos):
    status, output = run(*shlex.split(command)[2:])
    assert status == 0, output


@of_kind("report")
def test_a_report_is_written(command, tmp_path, monkeypatch, finished_resnet50):
    monkeypatch.chdir(tmp_path)
    report(shlex.split(command)[3:])
    assert (tmp_path / "report" / "report.html").is_file()


@of_kind("export")
def test_an_export_is_accepted(command, finished_resnet50, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["export"])
    options, others = export_parser().parse_known_args(shlex.split(command)[3:])
    source = read_source(options.checkpoint, others)
    assert source.checkpoint.samefile(finished_resnet50 / "checkpoints" / "best.ckpt") and not source.missing


@of_kind("make")
def test_make_targets_exist(command):
    assert re.search(rf"^{command.split()[1]}:", (ROOT / "Makefile").read_text(), re.M)


def test_make_targets_in_the_text_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        assert set(re.findall(r"`make ([a-z-]+)", page.read_text())) <= targets, page.name


def printed(program: str) -> str:
    with redirect_stdout(io.StringIO()) as output:
        exec(program, {})
    return output.getvalue()


def test_the_python_predicts_like_the_command(run, finished_resnet50, photos):
    program = blocks(DOCS / "python.md", "python")[0]
    checkpoint = re.search(r'"(runs/\S+\.ckpt)"', program)[1]
    assert run("predict", f"--ckpt_path={checkpoint}", "--data.images=photos")[0] == 0
    (row,) = table(finished_resnet50 / "predictions.csv")
    name, _, probability = printed(program).strip().rpartition(" ")
    assert name == row["name1"] and float(probability) == pytest.approx(float(row["p1"]), abs=1e-5)


def test_a_plain_trainer_trains_tests_and_predicts(tmp_path, monkeypatch, archive, data_root):
    program = blocks(DOCS / "python.md", "python")[1]
    monkeypatch.chdir(tmp_path)
    # The same program, with a small archive, a narrow network, and one epoch on the CPU.
    data = partial(
        TinyImageNetDataModule, root=str(data_root), archive=str(archive), md5=None, image_size=32, batch_size=16
    )
    monkeypatch.setattr("tiny_imagenet.data.TinyImageNetDataModule", data)
    monkeypatch.setattr("tiny_imagenet.classifier.ImageClassifier", partial(ImageClassifier, width=0.125))
    assert "max_epochs=20," in program
    answers = printed(program.replace("max_epochs=20,", "max_epochs=1, accelerator='cpu',")).splitlines()[-1]
    assert len(eval(answers)) == 10, "one for each unlabelled image"
    assert list(tmp_path.glob("lightning_logs/version_0/checkpoints/*.ckpt"))


def test_augmentations_work_alone():
    assert printed(blocks(DOCS / "python.md", "python")[2]) == "torch.Size([64, 3, 32, 32])\n"


@pytest.fixture
def recipes():
    """What each recipe of architecture.md defines, in the page's order."""
    defined = [{"__name__": "recipe"} for _ in blocks(DOCS / "architecture.md", "python")]
    for program, names in zip(blocks(DOCS / "architecture.md", "python"), defined, strict=True):
        exec(program, names)
    yield defined
    for names in defined:
        names.clear()
    gc.collect()  # A class that lives on would be found by name in later tests.


def test_recipes_work(recipes, tmp_path, capsys):
    augmentation, data_set, optimizer, metric, command = recipes
    images = torch.full((8, 3, 4, 4), 250, dtype=torch.uint8)
    changed = augmentation["RandomLevel"](32)(images)
    assert changed.dtype == torch.uint8 and changed.min() >= 218 and len(changed.unique()) > 1
    assert (changed == changed[:, :1, :1, :1]).all(), "one level for each image"

    for name in ("b", "a"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for n in range(5):
            Image.new("RGB", (8, 8)).save(tmp_path / f"images/{name}/{n}.png")
    pets = data_set["PetsDataModule"](root=str(tmp_path), image_size=8)
    pets.prepare_data()
    pets.setup("fit")
    assert pets.info.class_names == ("a", "b")

    weights = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    weights.grad = torch.tensor([0.5, -7.0, 0.0])
    optimizer["SignSGD"]([weights], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(weights.detach(), torch.tensor([0.85, -1.8, 2.85]))

    assert metric["STAGES"].keys() == STAGES.keys() and metric["_METRICS"].keys() == {"macro"}

    command["main"]([str(write_run(tmp_path / "run"))])
    assert capsys.readouterr().out == f"{tmp_path / 'run'} resnet18\n"
    with pytest.raises(SystemExit, match="error: "):
        command["main"]([str(tmp_path / "absent")])


def test_the_messages_explained_are_those_of_the_code():
    said = (ROOT / "Makefile").read_text()
    for path in (ROOT / "tiny_imagenet").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                said += "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values) + "\n"
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                said += node.value + "\n"
    messages = re.findall(r"^\| `([^`]+)`", (DOCS / "trouble.md").read_text(), re.M)
    assert len(messages) > 8
    for message in messages:
        for part in filter(None, map(str.strip, message.split("…"))):
            assert part in said, message


@pytest.mark.parametrize("page", [*PAGES, *RESULTS], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for file, section in links(page):
        assert file.exists(), file
        assert not section or section in sections(file), f"{file.name}#{section}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_configs_named_exist(page):
    for name in re.findall(r"(?<![\w}])((?:records/|sweeps/)?\w+\.yaml)\b", page.read_text()):
        if name not in ("config.yaml", "best.yaml"):
            assert list(CONFIGS.rglob(name)), name


def test_links_and_configs_are_found_on_the_pages():
    """Otherwise the two tests above would show nothing."""
    assert (DOCS / "pictures" / "examples.jpg", "") in links(ROOT / "README.md")
    assert (DOCS / "trouble.md", "questions") in links(ROOT / "README.md")


def test_the_map_is_the_package_s():
    """Each folder of the package is on the map of docs/architecture.md, with the first line of its docstring."""
    (tree,) = blocks(DOCS / "architecture.md", "text")
    package = ROOT / "tiny_imagenet"
    for folder in package.rglob("__init__.py"):
        if folder.parent != package:
            said = re.search(rf"^ +{folder.parent.name}/ +(.*)$", tree, re.M)[1]
            assert said.rstrip(".").lower() in folder.read_text().partition('"""\n')[0].lower(), folder
    for file in package.glob("[a-z]*.py"):
        said = re.search(rf"^ +{file.name} +(.*)$", tree, re.M)[1]
        assert file.read_text().startswith(f'"""{said.rstrip(".")}'), file


def test_the_levels_of_imports_are_those_of_the_test():
    tree = ast.parse((ROOT / "tests" / "test_structure.py").read_text())
    (levels,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LEVELS"
    )
    rows = re.findall(r"^\| \d \| (.*) \|$", (DOCS / "architecture.md").read_text(), re.M)
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == levels


def test_the_estimates_are_their_arithmetic():
    """GFLOP, PFLOP and hours of docs/gpu-hours.md, and the hours in README."""
    text = (DOCS / "gpu-hours.md").read_text()
    gflop = {}
    for name, small, imagenet in re.findall(r"^\| ResNet-(\d+) \| ([\d.]+) GFLOP \| ([\d.]+) GFLOP \|$", text, re.M):
        gflop[name] = forward_gflop(f"resnet{name}", "small", 64)
        assert f"{gflop[name]:.2f}" == small and f"{forward_gflop(f'resnet{name}', 'imagenet', 224):.2f}" == imagenet
    assert gflop.keys() == {"18", "34", "50", "101", "152"}
    per_image = 3 * forward_gflop("resnet50", "imagenet", 224)
    rates = [images_per_s * per_image for images_per_s in (2470, 1200)]
    assert [f"{rate / 1000:.1f}" for rate in rates] == ["60.6", "29.4"]
    overview = (ROOT / "README.md").read_text()
    for name, operations in gflop.items():
        total = 50 * (3 * 90_000 + 10_000) * operations
        hours = [f"{total / rate / 3600:.1f}" for rate in rates]
        row = re.search(rf"^\| `resnet{name}_aug\.yaml`.*\| (\d+) PFLOP \| ([\d.]+) h \| ([\d.]+) h \|$", text, re.M)
        assert row.groups() == (f"{total / 1e6:.0f}", *hours)
        assert re.search(rf"^\| `resnet{name}_aug\.yaml` .*\| ([\d.]+) \|$", overview, re.M)[1] == hours[0]


def forward_gflop(arch: str, stem: str, side: int) -> float:
    network, images = build_resnet(arch, 200, stem=stem).to("meta"), torch.empty(2, 3, side, side, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images)
    return counter.get_total_flops() / 2 / 1e9
