"""Configs from anyone that would take forever or are no configs: a line at once, and nothing is left behind."""

import os
import time

import pytest
import yaml

ALIASES = "a0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(30))
BOMB = "[" + ALIASES.replace("\n", "}, {")[:-3].replace("a0: &a0", "{a0: &a0") + "]"

CONFIGS = {
    "aliases of aliases": (ALIASES, "The config bad.yaml can't be read: it has more than 100,000 values."),
    "aliases in an option": (f"data: {{init_args: {{augment: {BOMB}}}}}", "it has more than 100,000 values."),
    "an alias of itself": ("model: &a {arch: *a}", "its alias *a stands for nothing that ends before it."),
    "deep": ("model: " + "{a: " * 5000, "it is nested too deeply."),
    "many values": ("model: {freeze: [" + "a, " * 200_000 + "]}", "it has more than 100,000 values."),
    "a long number": ("seed_everything: " + "9" * 5000, "it has a number of 5,000 characters."),
    "Latin-1": (b"model: {arch: caf\xe9}", "The config bad.yaml can't be read: "),
    "binary": (bytes(range(256)) * 10, "The config bad.yaml can't be read: "),
    "not ended": ("model:\n  arch: [\n", "did not find expected node content (line 3)."),
    "a large file": ("#" * 1_100_000, "bad.yaml has 1.1 MB, more than 1.0 MB."),
    "a large number": (f"seed_everything: {10**400}", "seed_everything"),
    "a list": ("[1, 2]", "The config bad.yaml must map model, data and trainer to their options."),
    "a word": ("model", "The config bad.yaml must map"),
    "a number": ("5", "The config bad.yaml must map"),
    "numbers for names": ("{1: 2, 3: [4]}", "The config bad.yaml must map"),
    "nothing for a section": ("model: null", "model: is null in a config; give some of its options, or leave it out."),
    "nothing for an architecture": ("model: {arch: null}", "model.arch must be str, not null."),
    "true for a section": ("model: true", "model: must map options to values in a config, not True."),
    "text for a section": ("trainer: fast", "trainer"),
    "a list for a section": ("checkpoint: [1]", "checkpoint"),
    "lists for sections": ("{model: [1], data: [2], trainer: [3]}", ""),
    "numbers for sections": ("{model: 1, data: 2, trainer: 3}", ""),
}


@pytest.mark.parametrize(("content", "message"), CONFIGS.values(), ids=CONFIGS)
def test_a_bad_config_is_a_line_at_once(run, tmp_path, content, message):
    (tmp_path / "bad.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    began = time.process_time()
    status, output = run("fit", "--config=bad.yaml", "--trainer.accelerator=cpu")
    assert time.process_time() - began < 10
    assert status in (1, 2) and output.startswith("error: ") and message in output
    assert output.count("\n") == 1 and output.rstrip().isprintable()
    assert os.listdir(tmp_path) == ["bad.yaml"]


def test_a_part_of_a_config_in_another_file_is_read_as_carefully(run, tmp_path):
    (tmp_path / "part.yaml").write_text(ALIASES)
    (tmp_path / "whole.yaml").write_text("model: {optimizer: part.yaml}")
    began = time.process_time()
    (tmp_path / "text.yaml").write_text(yaml.safe_dump({"trainer": {"max_epochs": ALIASES}}))
    options = ("--config=whole.yaml", "--config=text.yaml", "--model.optimizer=part.yaml", f"--model.optimizer={BOMB}")
    for option in (*options, f"--trainer.max_epochs={BOMB}"):
        status, output = run("fit", option)
        assert status in (1, 2) and "it has more than 100,000 values" in output and output.count("\n") == 1
    assert time.process_time() - began < 20


def test_aliases_and_long_lists_that_expand_to_little_are_read(parsed, tmp_path):
    (tmp_path / "good.yaml").write_text(
        "data:\n  class_path: SyntheticDataModule\n  init_args:\n    augment:\n"
        "    - &flip {class_path: RandomHorizontalFlip, init_args: {p: 0.25}}\n    - *flip\n"
    )
    augmentations = parsed("--config=good.yaml").datamodule.pipeline.augmentations
    assert [augmentation.p for augmentation in augmentations] == [0.25, 0.25]
