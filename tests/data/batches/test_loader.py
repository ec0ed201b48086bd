"""Loaders: whole batches of the small archive, with and without worker processes."""

import os
import signal
from multiprocessing.util import register_after_fork

import numpy as np
import pytest
import torch

from tests.helpers.archives import in_process
from tiny_imagenet.run.stop_signals import STOPPING


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_epoch_s_batches_hold_each_image_once_with_its_label(module, num_workers):
    data = module(num_workers=num_workers)
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert sum(len(batch.targets) for batch in batches) == len(data.sets["train"])
    assert len({batch.seed for batch in batches}) == len(batches)
    first = batches[0]
    assert first.images.dtype == torch.uint8
    assert first.images.is_contiguous(memory_format=torch.channels_last)
    rows = {data.sets["train"][np.array([row])][0].numpy().tobytes(): row for row in range(len(data.sets["train"]))}
    found = [rows[image[None].contiguous().numpy().tobytes()] for batch in batches for image in batch.images]
    assert sorted(found) == list(range(len(rows)))
    labels = torch.cat([batch.targets for batch in batches]).tolist()
    assert labels == data.sets["train"].labels[found].tolist()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_before_a_worker_can_ignore_it_does_not_end_it(module, number):
    class Owner:
        """The hook is called in each process that is forked while this lives."""

    data, owner = module(num_workers=2), Owner()
    data.setup("fit")
    register_after_fork(owner, lambda _: os.kill(os.getpid(), number))
    batches = list(data.train_dataloader())
    assert sum(len(batch.targets) for batch in batches) == len(data.sets["train"])
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & STOPPING, "signals wait no longer"


def test_workers_end_with_their_process_even_where_it_does_not_end_them(module):
    """They obey SIGTERM only from the process that they work for."""
    data = module(num_workers=2)
    data.setup("fit")

    def work():
        work.batches = iter(data.train_dataloader())  # and so still there when the process exits
        next(work.batches)

    process = in_process(work)
    process.join(60)
    try:
        assert process.exitcode == 0
    finally:
        process.kill()
