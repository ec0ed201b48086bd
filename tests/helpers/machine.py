"""A made machine: the files of /proc and of control groups, and which cores it has."""

import os

from tiny_imagenet import threads


def made_machine(tmp_path, monkeypatch):
    """Four cores, and no file yet. Returns a function that writes files: proc__stat=… is /proc/stat."""
    monkeypatch.setattr(threads, "PROC", tmp_path / "proc")
    monkeypatch.setattr(threads, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 5})

    def write(**files):
        for path, text in files.items():
            path = tmp_path / path.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write
