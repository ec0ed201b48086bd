"""A run's folder: only one training at a time may write to it."""

import multiprocessing
import os

from tests.helpers.archives import in_process
from tiny_imagenet.run.folder import RunLock


def test_a_run_is_trained_by_one_process_at_a_time(run, small, checkpoint):
    resume = ["fit", *small, "--ckpt_path=last"]
    taken, leave = (multiprocessing.get_context("fork").Event() for _ in range(2))

    def train():
        lock = RunLock(checkpoint.parents[1])
        lock.acquire()
        taken.set()
        leave.wait(60)
        os._exit(0)

    other = in_process(train)
    assert taken.wait(60)
    status, output = run(*resume)
    assert status == 1 and "version_0 is being trained by another process" in output
    leave.set()
    other.join()
    assert run(*resume)[0] == 0
