"""Files from anyone, read in bounded time and memory."""

import os
import time

import pytest

from tiny_imagenet.run.bounded import read_file, read_yaml

# Each line lists the one above twice: 2^24 values in the end.
ALIASES = "a0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(23))

BAD_YAML = {
    "aliases of aliases": (ALIASES, "it has more than 100,000 values"),
    "merged aliases": ("a: &a {b: 1}\nc: &c {<<: [" + "*a, " * 60_000 + "]}", "it has more than 100,000 values"),
    "an alias of itself": ("a: &a [*a]", r"its alias \*a stands for nothing that ends before it"),
    "an alias of nothing": ("a: *b", r"its alias \*b stands for nothing"),
    "many values": ("a: [" + "1," * 200_000 + "]", "it has more than 100,000 values"),
    "brackets": ("[" * 100_000, "it is nested too deeply|exceeded maximum nesting depth"),
    "dashes": ("- " * 100_000, "it is nested too deeply"),
    "a long number": ("a: " + "9" * 5000, "it has a number of 5,000 characters"),
    "a long number of base 60": ("a: " + "1:" * 100_000 + "1", "it has a number of 200,001 characters"),
    "a long number by its tag": ("a: !!int '" + "1:" * 5000 + "1'", "it has a number of 10,001 characters"),
    "a large file": ("#" * 1_100_000, "bad.yaml has 1.1 MB, more than 1.0 MB"),
    "another encoding": (b"a: caf\xe9", "invalid .*UTF-8|unacceptable character"),
    "binary": (bytes(range(256)), "unacceptable character|control characters|UTF-8"),
    "an unknown tag": (
        "a: !!python/object/apply:os.system ['true']",
        "it has the YAML tag !!python/object/apply:os.system, which",
    ),
    "a tag that lies": ("a: !!int ''", "a value is not what its !!tag says"),
    "another tag that lies": ("a: !!bool perhaps", "a value is not what its !!tag says"),
    "an end that is missing": ("a:\n  b: [\n", r"did not find expected node content \(line 3\)"),
    "two documents": ("a: 1\n---\nb: 1", "another document"),
}


@pytest.mark.parametrize(("content", "message"), BAD_YAML.values(), ids=BAD_YAML)
def test_dangerous_yaml_is_a_line_at_once(tmp_path, content, message):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    began = time.process_time()
    with pytest.raises(ValueError, match=message) as caught:
        read_yaml(path)
    assert time.process_time() - began < 5
    assert len(str(caught.value).splitlines()) == 1


def test_ordinary_yaml_is_read_and_dates_stay_text(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text("a: &a {b: [1, 2.5, true, null]}\nc: {<<: *a, d: 2026-01-02}\ne: '" + "9" * 5000 + "'\n")
    b = [1, 2.5, True, None]
    assert read_yaml(path) == {"a": {"b": b}, "c": {"b": b, "d": "2026-01-02"}, "e": "9" * 5000}


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is not a regular file"):
        read_file(tmp_path / "pipe", 10)
    (tmp_path / "large").write_bytes(b"x" * 11)
    with pytest.raises(ValueError, match="large has 11 bytes, more than 10 bytes"):
        read_file(tmp_path / "large", 10)
    assert read_file(tmp_path / "large", 11) == b"x" * 11
