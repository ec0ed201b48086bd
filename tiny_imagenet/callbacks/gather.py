"""Brings together what each rank found about its images."""

import numpy as np
import torch.distributed as dist


def gather_by_row(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values of all images in the data set's order, on every rank. Collective: call on every rank.

    Args:
        rows: the rows of the data set that this rank had, int64 [n]; no row is on two ranks.
        values: its value for each, [n, ...].

    Returns:
        values [N, ...] of all ranks, sorted by row.
    """
    parts = [(rows, values)]
    if dist.is_initialized() and dist.get_world_size() > 1:
        parts = [None] * dist.get_world_size()
        dist.all_gather_object(parts, (rows, values))
    order = np.argsort(np.concatenate([rows for rows, _ in parts]), kind="stable")
    return np.concatenate([values for _, values in parts])[order]
