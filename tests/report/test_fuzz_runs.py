"""Random, damaged files of runs: the report shows the other runs, and says what it left out."""

import itertools
import shutil

import pytest
import yaml
from hypothesis import strategies as st

from tests.helpers.fuzzing import CHANGE, DAMAGE, FEW_EXAMPLES, changed, damaged, fuzz
from tests.helpers.runs import write_condition_numbers, write_run
from tiny_imagenet import report
from tiny_imagenet.report.__main__ import main
from tiny_imagenet.report.tables import in_csv, in_markdown

FILES = ("config.yaml", "metrics.csv", "test_metrics.json", "per_class.csv", "confusion.csv", "condition_numbers.csv")
ODD_CELLS = st.sampled_from(
    [
        *("", "nan", "inf", "-inf", "1e400", "-1", "1e30", "1_000", "0x10", "=1+1", "\x1b[2J", "é", '"', '"a,b"'),
        *("x" * 300, "9" * 400, "0.5", "2", "true", "\0", "\r", "\u202e", " 1", "١"),
    ]
)
CELLS = st.lists(st.tuples(st.integers(0, 1000), ODD_CELLS), min_size=1, max_size=4)
CHANGES = st.lists(CHANGE, min_size=1, max_size=3)
EDIT = st.tuples(st.sampled_from(FILES), st.just([]) | DAMAGE, st.just([]) | CHANGES, st.just([]) | CELLS)
EDITS = st.lists(EDIT, min_size=1, max_size=2)


def edited(file, content, damage, changes, cells):
    """A file's content with changed values or cells, and then damaged bytes."""
    if file == "config.yaml":
        content = yaml.safe_dump(changed(yaml.safe_load(content), changes), sort_keys=False).encode()
    elif file.endswith(".csv"):
        rows = [row.split(",") for row in content.decode().split("\n")]
        for number, cell in cells:
            row = rows[number % len(rows)]
            row[number % len(row)] = cell
        content = "\n".join(map(",".join, rows)).encode()
    return damaged(content, damage)


@pytest.fixture
def runs(tmp_path):
    """A good run, one to damage, and the content of its files."""
    for name in ("good", "bad"):
        write_run(tmp_path / name / "version_0", tested=True)
        write_condition_numbers(tmp_path / name / "version_0", epochs=5)
    bad = tmp_path / "bad" / "version_0"
    return tmp_path, bad, {file: (bad / file).read_bytes() for file in FILES}


def spoil(bad, contents, edits):
    for file in FILES:
        (bad / file).write_bytes(contents[file])
    for file, damage, changes, cells in edits:
        (bad / file).write_bytes(edited(file, contents[file], damage, changes, cells))


@pytest.mark.parametrize("examples", FEW_EXAMPLES)
def test_runs(runs, examples):
    root, bad, contents = runs

    def check(edits):
        spoil(bad, contents, edits)
        found, skipped = report.find_runs(root)
        assert "good" in [run.name for run in found]
        assert all(f"{where}{why}".isprintable() for where, why in skipped.items())
        for table in (report.runs_table(found), report.results_table(found)):
            assert len(table) == len(found)
            assert in_csv(table) and in_markdown(table)
        return "; ".join(why[:30] for why in skipped.values()) or "read"

    fuzz(check, examples, EDITS)


@pytest.mark.slow
@pytest.mark.parametrize("examples", [40])
def test_whole_reports(runs, examples, monkeypatch, capsys):
    """The pictures too; few examples, since each takes seconds."""
    root, bad, contents = runs
    monkeypatch.setattr(report.drawing, "DPI", 20)
    numbers = itertools.count()

    def check(edits):
        out = root.parent / f"out{next(numbers)}"
        spoil(bad, contents, edits)
        main([str(root), "--out", str(out)])
        page = (out / "report.html").read_text()
        assert "good" in page and page.rstrip().endswith("</html>")
        shutil.rmtree(out)
        told = capsys.readouterr()
        return "skipped" if "skipped" in told.err else "read"

    fuzz(check, examples, EDITS)
