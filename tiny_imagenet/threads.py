"""How many threads compute on the CPU: as many as there are cores to spare, or else they wait for one another.

Threads meet after every operation. One that has lost its core to another process keeps all others waiting, and by
default they burn their cores meanwhile: beside one busy process per core a training was ten times slower. Sums depend
on the number of threads, so it belongs to a run, and a resumed run keeps it. Imports no torch: how threads wait is
decided when torch is loaded.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple
from uuid import uuid4

from tiny_imagenet.files import replace_text
from tiny_imagenet.run.bounded import read_file

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None

FILE = "threads.json"  # in a run's folder
VARIABLE = "OMP_NUM_THREADS"
LARGEST = 1000  # bytes of the file; it has 20
# How often a waiting thread of GNU's OpenMP looks before it sleeps: about 10 µs.
SPINS = "10000"
PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


class Choice(NamedTuple):
    """A number of threads, and the reason for it in words; no reason where there is nothing to say."""

    threads: int
    reason: str = ""


def wait_passively() -> None:
    """Let waiting threads soon leave their core to others, if torch is not loaded yet and the user chose nothing."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


class Load:
    """What other processes use of this process's cores, from the time it was made."""

    def __init__(self) -> None:
        self._start = self._sample()

    def busy_cores(self, least: float = 0.2) -> float:
        """Cores that other processes kept busy, 0 where the system does not say.

        Args:
            least: seconds to look for, if less has passed.
        """
        if self._start is None:
            return 0.0
        time.sleep(max(0.0, self._start[0] + least - time.monotonic()))
        (since, busy_before, own_before), (now, busy, own) = self._start, self._sample()
        return max(0.0, (busy - busy_before - (own - own_before)) / (now - since))

    @staticmethod
    def _sample() -> tuple[float, float, float] | None:
        """The time, and the seconds that these cores have been busy, in all and for this process and its children."""
        try:
            lines = (PROC / "stat").read_text().splitlines()
            ticks, cores = os.sysconf("SC_CLK_TCK"), {f"cpu{number}" for number in os.sched_getaffinity(0)}
        except (OSError, AttributeError, ValueError):
            return None
        counts = [list(map(int, line.split()[1:9])) for line in lines if line.split()[0] in cores]
        # All but idle and waiting for a disk; what the host gave to other machines (steal) counts as well.
        busy = sum(sum(count) - count[3] - count[4] for count in counts) / ticks
        return time.monotonic(), busy, sum(os.times()[:4])


def cores() -> int:
    """The number of cores that this process may use, by its affinity and the quota of its container; at least 1."""
    return max(1, round(min(len(_affinity()), _quota())))


def _affinity() -> set[int]:
    """The numbers of the cores that this process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def choose(load: Load, processes: int = 1, trainings: int = 1) -> Choice:
    """Threads for each process of a training that begins now.

    Args:
        load: of the machine.
        processes: of this training on this machine.
        trainings: that share its cores, this one included.
    """
    all_cores, seen = cores(), len(_affinity())
    busy = load.busy_cores()  # of those that are seen; a container's quota may be less
    free = max(1, min(all_cores, round(seen - busy), seen // trainings))
    threads = max(1, free // processes)
    if free == all_cores:
        return Choice(threads)
    others = f"other processes keep {busy:.1f} cores busy"
    reason = others if trainings == 1 else f"{trainings} runs share this machine"
    return Choice(threads, f"{threads} thread{'s' * (threads != 1)} of {all_cores} possible: {reason}")


def of_rank(processes: int) -> Choice:
    """Threads of a process that torchrun or SLURM started with others, all of which need the same number.

    Args:
        processes: of the training on this machine.
    """
    bound = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return Choice(max(1, min(cores(), int(bound)) if bound.isdigit() else cores() // processes))


class Register:
    """Counts the trainings that share cores, by a file for each, which it keeps locked until it ends.

    The file lists the numbers of its cores.
    """

    def __init__(self, folder: Path | None = None) -> None:
        user = os.getuid() if hasattr(os, "getuid") else 0
        self._folder = folder or Path(tempfile.gettempdir()) / f"tiny_imagenet-trainings-{user}"
        self._own: IO | None = None

    def enter(self) -> int:
        """Count this training, and return how many share cores with it; 1 where files can't be locked."""
        if fcntl is None:
            return 1
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            if self._folder.stat().st_uid != os.getuid():
                return 1
            with (self._folder / "lock").open("w") as turn:
                fcntl.flock(turn, fcntl.LOCK_EX)
                self._own = (self._folder / f"{uuid4().hex}.training").open("w")
                fcntl.flock(self._own, fcntl.LOCK_EX)
                self._own.write(" ".join(map(str, sorted(_affinity()))))
                self._own.flush()
                return sum(map(_shares_cores, self._folder.glob("*.training")))
        return 1

    def leave(self) -> None:
        """Do not count this training any longer."""
        if self._own is not None:
            Path(self._own.name).unlink(missing_ok=True)
            self._own.close()
            self._own = None


def _shares_cores(path: Path) -> bool:
    """Whether a training may run on this process's cores. The file of one that has ended is removed."""
    try:
        with path.open() as file:
            numbers = {int(number) for number in file.read(100_000).split()}
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return not numbers.isdisjoint(_affinity())
    except (OSError, ValueError):
        return False
    path.unlink(missing_ok=True)
    return False


def read_threads(run: Path) -> int | None:
    """The number of threads that a run was trained with; None if it is unknown."""
    try:
        threads = json.loads(read_file(run / FILE, LARGEST))["threads"]
        return threads if type(threads) is int and 0 < threads < 10_000 else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def write_threads(run: Path, threads: int) -> None:
    """Record the number of threads of a run."""
    replace_text(run / FILE, json.dumps({"threads": threads}) + "\n")


def control_groups(controller: str) -> Iterator[tuple[Path, int]]:
    """The folders of the process's control groups that limit something (`cpu`, `memory`), each with its version."""
    try:
        groups = [line.split(":", 2)[1:] for line in (PROC / "self" / "cgroup").read_text().splitlines()]
    except OSError:
        return
    for controllers, path in groups:  # of version 2 without a name, of version 1 with those of its controllers
        if controllers and controller not in controllers.split(","):
            continue
        roots = (CGROUPS / controllers, CGROUPS / controller) if controllers else ()
        root = next((root for root in roots if root.is_dir()), CGROUPS)
        group = root / path.lstrip("/")
        # In a container the path may be the host's, and the limit is at the root of what is seen there.
        for folder in {root, *(folder for folder in (group, *group.parents) if folder.is_relative_to(root))}:
            yield folder, 1 if controllers else 2


def _quota() -> float:
    """The cores' worth of time that the process's control groups allow it; infinite without a limit."""
    quotas = [float("inf")]
    for folder, version in control_groups("cpu"):
        with suppress(OSError, ValueError):
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if version == 1 else ("cpu.max",)
            quota, period = " ".join((folder / name).read_text() for name in names).split()
            if quota not in ("max", "-1"):
                quotas.append(int(quota) / int(period))
    return min(quotas)
