"""The CPU time that work takes, and a process that takes some of it away."""

import math
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Ends by itself if the benchmark is killed.
BUSY = """
import os
parent = os.getppid()
print(flush=True)
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""


def cpu_seconds() -> float:
    """CPU time that this process and its running worker processes have taken, all threads together, in seconds.

    Workers are those of `multiprocessing`, such as a DataLoader's. NaN if there are some and the system does not say
    what they took, which only Linux does.
    """
    workers = (each.pid for each in multiprocessing.active_children())
    return time.process_time() + sum(map(_of_process, workers))


def _of_process(number: int) -> float:
    try:
        # After the name in brackets, which may hold anything: utime and stime are the 14th and 15th fields, proc(5).
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return math.nan


@contextmanager
def busy_process() -> Iterator[subprocess.Popen]:
    """Within the context, another process keeps a core busy; it is killed at the end, whatever ends the context."""
    command = [sys.executable, "-I", "-S", "-c", BUSY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            process.stdout.readline()  # it has started
            yield process
        finally:
            process.kill()
