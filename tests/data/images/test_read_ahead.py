"""Reading ahead: the pages that a set needs are mapped, as far as there is memory to spare."""

import mmap
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.machine import made_machine
from tiny_imagenet.data.images import read_ahead
from tiny_imagenet.data.images.packed import PackedImages
from tiny_imagenet.data.images.read_ahead import free_memory
from tiny_imagenet.data.images.unfinished import PIXELS

MB = 2**20
GROUP = "4:memory:/box/inner\n0::/\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which pages a process has mapped")
@pytest.mark.parametrize(("free", "expected"), [(1000 * MB, 0.5), (20 * MB, 10 / 24), (MB, 0)])
def test_pages_are_mapped_as_far_as_half_of_the_free_memory(tmp_path, monkeypatch, free, expected):
    np.save(tmp_path / PIXELS, np.zeros((2048, 64, 64, 3), np.uint8))  # 24 MB
    images = PackedImages(tmp_path, None, np.arange(1024, 2048), np.zeros(1024, np.int64))
    monkeypatch.setattr(read_ahead, "free_memory", lambda: free)
    monkeypatch.setattr(read_ahead, "PART", MB)

    def mapped():
        mappings = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
        (ours,) = (mapping for mapping in mappings if str(tmp_path) in mapping)
        return 1024 * int(re.search(r"^Rss: +(\d+) kB", ours, re.MULTILINE)[1]) / images.images.nbytes

    assert mapped() < 0.02
    images.read_ahead().join()
    assert mapped() == pytest.approx(expected, abs=0.06), "the system may map 2 MB at once"


def test_a_set_that_is_smaller_than_a_part_is_read_where_it_fits(monkeypatch):
    monkeypatch.setattr(read_ahead, "free_memory", lambda: 2 * MB)
    touched = []

    class Pixels(np.ndarray):
        def max(self, *args, **options):
            touched.append(self.size)

    read_ahead.read_ahead(np.zeros(MB, np.uint8).view(Pixels))
    assert touched == [MB / mmap.PAGESIZE]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return made_machine(tmp_path, monkeypatch)


def test_free_memory_is_what_the_system_says(machine):
    assert free_memory() == float("inf"), "where it says nothing"
    machine(proc__meminfo="MemTotal:  8000 kB\nMemFree:  10 kB\nMemAvailable:  5000 kB\nHugePages_Total:  0\n")
    assert free_memory() == 5000 * 1024


def test_a_limit_of_version_2_counts_and_pages_of_files_are_free(machine):
    machine(
        proc__meminfo="MemAvailable:  5000 kB\n",
        proc__self__cgroup="0::/box/inner\n",
        cgroup__box__memory_dot_max="3000000\n",
        cgroup__box__memory_dot_high="max\n",
        cgroup__box__memory_dot_current="2500000\n",
        cgroup__box__memory_dot_stat="anon 1000000\nactive_file 600000\ninactive_file 700000\nfile 1400000\n",
        cgroup__box__inner__memory_dot_max="max\n",
        cgroup__box__inner__memory_dot_high="max\n",
        cgroup__box__inner__memory_dot_current="2500000\n",
        cgroup__box__inner__memory_dot_stat="active_file 0\ninactive_file 0\n",
    )
    assert free_memory() == 3_000_000 - 2_500_000 + 1_300_000
    machine(cgroup__box__memory_dot_high="2600000\n")
    assert free_memory() == 2_600_000 - 2_500_000 + 1_300_000


def test_a_limit_of_version_1_counts(machine):
    stat = "active_file 1\ninactive_file 1\ntotal_active_file 600000\ntotal_inactive_file 700000\n"
    machine(
        proc__meminfo="MemAvailable:  5000 kB\n",
        proc__self__cgroup=GROUP,
        cgroup__memory__memory_dot_limit_in_bytes="9223372036854771712\n",
        cgroup__memory__memory_dot_usage_in_bytes="8000000000\n",
        cgroup__memory__memory_dot_stat=stat,
        cgroup__memory__box__memory_dot_limit_in_bytes="3000000\n",
        cgroup__memory__box__memory_dot_usage_in_bytes="2500000\n",
        cgroup__memory__box__memory_dot_stat=stat,
    )
    assert free_memory() == 3_000_000 - 2_500_000 + 1_300_000


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="only Linux says how much memory is free")
def test_free_memory_of_this_machine_is_found():
    total = int(re.search(r"MemTotal: +(\d+) kB", Path("/proc/meminfo").read_text())[1]) * 1024
    assert 0 < free_memory() < total
