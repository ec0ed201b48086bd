"""A disk whose power is cut: ext4 in a file, of which a copy has what had reached the disk, and nothing else."""

import filecmp
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Process
from pathlib import Path

import pytest

# The journal, and so the names of files, reach the disk every second; contents only after the 30 s of Linux, or if they
# are synced.
OPTIONS = "loop,commit=1"


class PowerDisk:
    """A mounted disk; `cut` leaves what a power cut would have left."""

    def __init__(self, folder: Path, size: str = "256M") -> None:
        self.folder, self._images = folder, iter(folder.with_name(f"{folder.name}-{n}.img") for n in range(10**6))
        self._image = next(self._images)
        subprocess.run(["truncate", "-s", size, self._image], check=True)
        subprocess.run(["mkfs.ext4", "-q", self._image], check=True)
        folder.mkdir()
        self._mount()

    def cut(self, process: Process | None = None) -> None:
        """Cut the power, of a process that writes to the disk too, and mount the disk again."""
        if process is not None and process.is_alive():
            os.kill(process.pid, signal.SIGSTOP)
        copies = next(self._images), next(self._images)
        while True:  # Until nothing is written between two copies, one may have an earlier write without a later one.
            for copy in copies:
                subprocess.run(["cp", "--sparse=always", self._image, copy], check=True)
            if filecmp.cmp(*copies, shallow=False):
                break
        if process is not None:
            process.kill()
            process.join()
        self.unmount()
        self._image.unlink()
        copies[1].unlink()
        self._image = copies[0]
        self._mount()

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", self.folder], check=True)

    def _mount(self) -> None:
        subprocess.run(["mount", "-o", OPTIONS, self._image, self.folder], check=True)


@contextmanager
def power_disk(folder: Path) -> Iterator[PowerDisk]:
    """A disk at `folder`, which must not exist; skips the test where disks can't be made or mounted."""
    try:
        disk = PowerDisk(folder)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs root, mkfs.ext4 and the right to mount a loop device")
    try:
        yield disk
    finally:
        disk.unmount()
