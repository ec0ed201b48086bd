"""CPU time with that of worker processes, and a process that keeps a core busy."""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT
from tiny_imagenet.benchmark.cpu import busy_process, cpu_seconds


def compute(own: Connection) -> None:
    while time.process_time() < 0.3:
        pass
    own.send(time.process_time())
    own.recv()  # stays alive


def test_cpu_seconds_count_running_workers_and_no_sleep():
    before, own_before = cpu_seconds(), time.process_time()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    worker = context.Process(target=compute, args=(theirs,))
    worker.start()
    of_worker = ours.recv()
    time.sleep(0.2)
    found, own = cpu_seconds() - before, time.process_time() - own_before
    ours.send("end")
    worker.join()
    if not Path("/proc/self/stat").exists():
        pytest.skip("only Linux says what another process took")
    assert found == pytest.approx(own + of_worker, abs=0.05)


def test_a_busy_process_takes_cpu_time_which_is_not_ours():
    def of_ended_children() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before, own_before, ended_before = cpu_seconds(), time.process_time(), of_ended_children()
    with busy_process():
        time.sleep(1)
    assert of_ended_children() - ended_before > 0.05, "also on a machine with many other processes"
    assert cpu_seconds() - before == pytest.approx(time.process_time() - own_before, abs=0.01)


def test_a_busy_process_ends_with_an_error():
    with pytest.raises(ZeroDivisionError), busy_process() as process:
        1 / 0  # noqa: B018
    assert process.returncode is not None and not is_running(process.pid)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_busy_process_ends_with_the_benchmark(number):
    program = (
        "import time\n"
        "from tiny_imagenet.benchmark.cpu import busy_process\n"
        "with busy_process() as process:\n"
        "    print(process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as benchmark:
        busy = int(benchmark.stdout.readline())
        assert is_running(busy)
        benchmark.send_signal(number)
    end = time.monotonic() + 20
    while is_running(busy) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_running(busy)


def is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except FileNotFoundError:  # it ended in between, or the system has no /proc
        return False
