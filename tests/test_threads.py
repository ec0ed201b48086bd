"""The number of threads: by cores, quotas, other processes and other trainings, and kept by a run."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from tests.helpers.machine import made_machine
from tests.helpers.paths import ROOT
from tiny_imagenet import threads
from tiny_imagenet.threads import Choice, Load, Register, choose, cores, of_rank


class Busy:
    """A machine on which other processes keep this many cores busy."""

    def __init__(self, cores):
        self.cores = cores

    def busy_cores(self):
        return self.cores


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return made_machine(tmp_path, monkeypatch)


# Cores and quotas


def test_without_limits_every_core_of_the_affinity_counts(machine):
    assert cores() == 4, "without control groups"
    machine(proc__self__cgroup="0::/user\n", cgroup__user__cpu_dot_max="max 100000\n")
    assert cores() == 4


@pytest.mark.parametrize(("quota", "expected"), [("50000", 1), ("160000", 2), ("200000", 2), ("900000", 4)])
def test_a_quota_of_either_version_limits_them(machine, quota, expected):
    machine(proc__self__cgroup="0::/box/inner\n", cgroup__box__cpu_dot_max=f"{quota} 100000\n")
    assert cores() == expected, "that of a group above"
    machine(
        proc__self__cgroup="3:cpuset:/\n2:cpu,cpuacct:/box\n0::/\n",
        cgroup__box__cpu_dot_max="max 100000\n",
        **{"cgroup__cpu,cpuacct__box__cpu_dot_cfs_quota_us": f"{quota}\n"},
        **{"cgroup__cpu,cpuacct__box__cpu_dot_cfs_period_us": "100000\n"},
    )
    assert cores() == expected


def test_in_a_container_the_quota_is_at_the_root_of_what_is_seen(machine):
    machine(proc__self__cgroup="0::/docker/0123\n", cgroup__cpu_dot_max="50000 100000\n")
    assert cores() == 1


# Other processes


def test_only_time_of_others_on_these_cores_is_counted(machine, monkeypatch):
    now, own, ticks = 100.0, 7.0, os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(threads.time, "monotonic", lambda: now)
    monkeypatch.setattr(threads.os, "times", lambda: (own, 0.5, 0.25, 0.25, 0.0))

    def stat(busy, elsewhere):
        line = "{} {} 0 0 1000 50 0 0 {} 0 0"  # user, ..., steal
        lines = [line.format("cpu", busy + elsewhere, 0), line.format("cpu0", busy * ticks, 0),
                 line.format("cpu2", 0, busy * ticks), line.format("cpu3", elsewhere * ticks, 0)]  # fmt: skip
        machine(proc__stat="\n".join(lines) + "\nctxt 1\n")

    stat(busy=10, elsewhere=0)
    load = Load()
    now, own = 104.0, 9.0
    stat(busy=13, elsewhere=50)
    assert load.busy_cores() == pytest.approx((2 * 3 - 2) / 4), "3 s on each of two cores, 2 s of them its own"


def test_a_busy_process_is_seen():
    """On one core, another process that never rests takes about half of it."""
    code = (
        "import os, subprocess, sys, time; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "other = subprocess.Popen([sys.executable, '-c', 'while True: pass'])\n"
        "from tiny_imagenet.threads import Load\n"
        "time.sleep(0.5); load = Load(); print(load.busy_cores(least=1)); other.kill()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0.8 < float(done.stdout) < 1.1


def test_where_the_system_does_not_say_nothing_is_busy(machine):
    assert Load().busy_cores() == 0


# The choice


@pytest.mark.parametrize(
    ("busy", "processes", "trainings", "expected"),
    [
        (0.0, 1, 1, 4), (0.3, 1, 1, 4), (1.0, 1, 1, 3), (2.6, 1, 1, 1), (4.0, 1, 1, 1),  # beside others
        (0.0, 2, 1, 2), (0.0, 3, 1, 1), (0.0, 8, 1, 1), (1.1, 2, 1, 1),  # devices
        (1.0, 1, 2, 2), (3.0, 1, 2, 1), (0.0, 1, 9, 1),  # trainings that have just begun, or for long
    ],
)  # fmt: skip
def test_threads_take_the_cores_that_are_free(machine, busy, processes, trainings, expected):
    choice = choose(Busy(busy), processes, trainings)
    assert choice.threads == expected
    assert bool(choice.reason) == (expected * processes < 4 and (processes, busy) != (3, 0.0))


def test_a_quota_is_not_reduced_by_what_keeps_other_cores_busy(machine):
    machine(proc__self__cgroup="0::/\n", cgroup__cpu_dot_max="200000 100000\n")
    assert choose(Busy(1.9)).threads == 2, "of four cores, two are free, and two are allowed"
    assert choose(Busy(3.0)).threads == 1


@pytest.mark.parametrize(("bound", "processes", "expected"), [("", 2, 2), ("", 9, 1), ("3", 2, 3), ("64", 1, 4)])
def test_ranks_that_were_started_from_outside_all_take_the_same_number(
    machine, monkeypatch, bound, processes, expected
):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", bound)
    assert of_rank(processes) == Choice(expected)


def test_only_trainings_on_the_same_cores_share_them(tmp_path, monkeypatch):
    first, second, third = (Register(tmp_path) for _ in range(3))
    for register, cores_of, expected in ((first, {0, 1}, 1), (second, {2, 3}, 1), (third, {1, 2}, 3)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process, cores_of=cores_of: cores_of)
        assert register.enter() == expected
    for register in (first, second, third):
        register.leave()
    assert not list(tmp_path.glob("*.training"))


def test_the_reason_is_one_line(machine):
    assert choose(Busy(3.0)).reason == "1 thread of 4 possible: other processes keep 3.0 cores busy"
    assert choose(Busy(1.0), trainings=2).reason == "2 threads of 4 possible: 2 runs share this machine"


def test_each_training_is_counted_until_it_ends(tmp_path):
    code = (
        "import sys, time, pathlib; from tiny_imagenet.threads import Register\n"
        f"register = Register(pathlib.Path({str(tmp_path)!r})); print(register.enter(), flush=True); time.sleep(60)"
    )
    others = []
    for expected in ("1", "2"):
        others.append(subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True))
        assert others[-1].stdout.readline().strip() == expected
    register = Register(tmp_path)
    assert register.enter() == 3
    register.leave()
    assert register.enter() == 3, "not twice"
    for expected, other in zip((2, 1), others, strict=True):
        other.send_signal(signal.SIGKILL)
        other.wait()
        register.leave()
        assert register.enter() == expected
    assert len(list(tmp_path.glob("*.training"))) == 1, "files of trainings that were killed are removed"
    register.leave()


def test_trainings_are_not_counted_where_that_fails(tmp_path):
    (tmp_path / "file").touch()
    assert Register(tmp_path / "file").enter() == 1


# In a run


@pytest.fixture
def choosing(monkeypatch):
    """The command line may choose threads, and finds a machine with this many cores to spare."""
    monkeypatch.delenv("OMP_NUM_THREADS")
    yield lambda number: monkeypatch.setattr(threads, "choose", lambda *_: Choice(number, f"{number} free"))
    torch.set_num_threads(1)


def test_a_run_keeps_its_number_of_threads(run, small, tmp_path, choosing, monkeypatch):
    recorded = tmp_path / "runs/defaults/version_0/threads.json"
    small = [*small, "--model.width=0.25"]
    choosing(2)
    status, output = run("fit", *small, "--trainer.max_epochs=1")
    assert status == 0 and "2 free." in output and ", 2 threads," in output, output
    assert json.loads(recorded.read_text()) == {"threads": 2}
    choosing(1)
    status, output = run("fit", *small, "--ckpt_path=last")
    assert status == 0 and "As before, the run has 2 threads." in output and ", 2 threads," in output, output
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    status, output = run("fit", *small, "--ckpt_path=last", "--trainer.max_epochs=3")
    assert status == 0 and "OMP_NUM_THREADS=1: the run had 2, and its sums will be rounded differently." in output
    assert json.loads(recorded.read_text()) == {"threads": 1}


@pytest.mark.parametrize("content", ["", "[]", '{"threads": true}', '{"threads": -1}', '{"threads": 1e9}', "[" * 999])
def test_a_damaged_record_is_as_none(tmp_path, content):
    (tmp_path / "threads.json").write_text(content)
    assert threads.read_threads(tmp_path) is None


def test_waits_are_passive_unless_the_user_chose(monkeypatch):
    for chosen in ({}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "active"}):
        for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
            monkeypatch.delenv(name, raising=False)
        for name, value in chosen.items():
            monkeypatch.setenv(name, value)
        threads.wait_passively()
        expected = chosen if "OMP_WAIT_POLICY" in chosen else {"GOMP_SPINCOUNT": threads.SPINS} | chosen
        found = {name: os.environ.get(name) for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
        assert {name: value for name, value in found.items() if value} == expected


def test_what_decides_imports_no_torch():
    code = "import sys, tiny_imagenet.threads; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
