"""The loss: cross-entropy, in training with a weight for each class if the data module gives them."""

from torch import Tensor
from torch.nn.functional import cross_entropy


def mean_cross_entropy(
    logits: Tensor, targets: Tensor, label_smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """The mean over a batch of each image's cross-entropy times the weight of its class.

    Label smoothing spreads a target over all classes as without weights: torch would multiply each class's part by its
    weight, and so teach a network to take frequent classes for rare ones. A mixed image counts as the images that it
    was mixed from, each with its share and weight. The sum is divided by the number of images and not, as in torch, by
    the sum of their weights, which differs between the devices that share a step.

    Args:
        logits: [B, C].
        targets: class labels int64 [B], or shares of the classes float [B, C], which sum to 1.
        label_smoothing: 0..1.
        weights: of the classes, float32 [C]; None weighs all alike.
    """
    if weights is None:
        return cross_entropy(logits, targets, label_smoothing=label_smoothing)
    if targets.ndim == 1:
        of_images = weights[targets]
    else:
        weighted = targets * weights
        of_images = weighted.sum(dim=1)
        targets = weighted / of_images[:, None]
    return (of_images * cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="none")).mean()
