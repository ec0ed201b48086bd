"""Loss and top-k accuracies: exact on any number of devices, over ties, and over a resumed epoch."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy


def build_metrics(stage: str, classes: int, ks: list[int]) -> MetricCollection:
    """Loss and top-k accuracies of a stage, summed on the device without making it wait."""
    accuracies = {
        # With fewer than k classes every answer is among the first k.
        f"top{k}": MulticlassAccuracy(classes, top_k=min(k, classes), average="micro", validate_args=False)
        for k in ks
    }
    loss = MeanMetric(nan_strategy="disable")
    return MetricCollection({"loss": loss, **accuracies}, prefix=f"{stage}/", compute_groups=False)


def without_ties(logits: Tensor) -> Tensor:
    """Scores float32 [B, C] in the order of the logits; of equal ones the first class scores higher, as in argmax.

    In half precision an image's highest logits are often equal, and torch.topk takes any of those.
    """
    places = logits.sort(dim=1, descending=True, stable=True).indices
    scores = torch.arange(logits.shape[1], 0, -1, dtype=torch.float32, device=logits.device)
    return torch.empty_like(places, dtype=torch.float32).scatter_(1, places, scores.expand_as(places))


def sums_of_ranks(metrics: MetricCollection, all_gather: Callable[[Tensor], Tensor]) -> dict[str, dict[str, Tensor]]:
    """The sums so far of each metric, one of each rank [ranks, …]; all ranks have to ask for them."""
    return {
        name: {state: all_gather(value).reshape(-1, *value.shape) for state, value in metric.metric_state.items()}
        for name, metric in metrics.items(keep_base=True)
    }


def restore_sums(metrics: MetricCollection, saved: dict[str, dict[str, Tensor]], rank: int, ranks: int) -> None:
    """Go on from `sums_of_ranks`: each rank from its own sums, since another order of adding would round otherwise.

    On another number of devices, the first goes on with all.
    """
    for name, metric in metrics.items(keep_base=True):
        for state, values in saved[name].items():
            if len(values) != ranks:
                values = torch.stack([values.sum(0)] + [torch.zeros_like(values[0])] * (ranks - 1))
            setattr(metric, state, values[rank].clone())
