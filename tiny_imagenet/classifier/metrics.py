"""Loss and top-k accuracies: exact on any number of devices, over ties, and over a resumed epoch."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from tiny_imagenet.errors import UserError, legible
from tiny_imagenet.run.metric_names import STAGES


def build_metrics(stage: str, classes: int) -> MetricCollection:
    """The metrics of `train`, `val` or `test`, summed on the device without waiting for it."""
    metrics = {name: _METRICS[name](classes) for name in STAGES[stage]}
    return MetricCollection(metrics, prefix=f"{stage}/", compute_groups=False)


def _top(k: int) -> Callable[[int], Metric]:
    # With fewer than k classes, every answer is among the first k.
    return lambda classes: MulticlassAccuracy(classes, top_k=min(k, classes), average="micro", validate_args=False)


# A metric by its name in `run/metric_names.py`, from the number of classes. `update` gets preds (scores [B, C]),
# target (labels [B]) and value (the loss of each image, [B]).
_METRICS: Mapping[str, Callable[[int], Metric]] = {
    "loss": lambda classes: MeanMetric(nan_strategy="disable"),
    "top1": _top(1),
    "top5": _top(5),
}


def without_ties(logits: Tensor) -> Tensor:
    """Scores float32 [B, C] in the order of the logits; of equal ones the first class scores higher, as in argmax.

    In half precision an image's highest logits are often equal, and torch.topk then picks any of them.
    """
    places = logits.sort(dim=1, descending=True, stable=True).indices
    scores = torch.arange(logits.shape[1], 0, -1, dtype=torch.float32, device=logits.device)
    return torch.empty_like(places, dtype=torch.float32).scatter_(1, places, scores.expand_as(places))


def sums_of_ranks(metrics: MetricCollection, all_gather: Callable[[Tensor], Tensor]) -> dict[str, dict[str, Tensor]]:
    """The sums so far of each metric, one for each rank [ranks, …]. Collective: call on every rank."""
    return {
        name: {state: all_gather(value).reshape(-1, *value.shape) for state, value in metric.metric_state.items()}
        for name, metric in metrics.items(keep_base=True)
    }


def restore_sums(metrics: MetricCollection, saved: dict[str, dict[str, Tensor]], rank: int, ranks: int) -> None:
    """Continue from `sums_of_ranks`: each rank from its own sums, since adding in another order rounds differently.

    On another number of devices, the first rank continues with all sums. A metric that was not saved starts anew.

    Raises:
        UserError: a metric has no such sum, or one of another shape.
    """
    for name, metric in metrics.items(keep_base=True):
        for state, values in saved.get(name, {}).items():
            own = metric.metric_state.get(state)
            if own is None or values.shape[1:] != own.shape or values.dtype != own.dtype:
                raise UserError(
                    f"The checkpoint is damaged: its train_metrics.{name}.{legible(state)} is not a sum of that metric."
                )
            if len(values) != ranks:
                values = torch.stack([values.sum(0)] + [torch.zeros_like(values[0])] * (ranks - 1))
            setattr(metric, state, values[rank].clone())
