"""When and how a training batch is mixed: torchvision's MixUp and CutMix, one draw a batch.

MixUp: Zhang et al. 2018, https://arxiv.org/abs/1710.09412. CutMix: Yun et al. 2019, https://arxiv.org/abs/1905.04899.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tiny_imagenet.errors import UserError


@dataclass(frozen=True)
class Mix:
    """Mix each batch with its own images in another order.

    Args:
        mixup: alpha of MixUp's Beta(alpha, alpha) distribution; 0 leaves MixUp out.
        cutmix: alpha of CutMix's Beta(alpha, alpha) distribution; 0 leaves it out. With both, either is drawn.
        probability: share of batches that are mixed at all, 0..1.
        epochs_without: number of epochs at the end of the training in which nothing is mixed.
    """

    mixup: float = 0.0
    cutmix: float = 1.0
    probability: float = 1.0
    epochs_without: int = 0

    def __post_init__(self) -> None:
        if min(self.mixup, self.cutmix) < 0 or self.mixup == self.cutmix == 0:
            raise UserError(
                f"mix needs a positive mixup or cutmix alpha, not mixup {self.mixup} and cutmix {self.cutmix}; "
                "to mix nothing, leave `mix` out (null)."
            )
        if not 0 <= self.probability <= 1:
            raise UserError(f"mix.probability is a share of batches between 0 and 1, not {self.probability}.")

    def __call__(self, images: Tensor, targets: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        """Mix a batch.

        Args:
            images: float [B, 3, H, W].
            targets: class labels, int64 [B].
            num_classes: C.

        Returns:
            images [B, 3, H, W] and targets: if the batch was mixed, channels-last and float [B, C], rows that sum to 1,
            else as given.
        """
        if torch.rand(()).item() >= self.probability:
            return images, targets
        # Imported here since only recipes that mix need torchvision's transforms, and start-up time counts.
        from torchvision.transforms import v2

        kinds = [(v2.MixUp, self.mixup), (v2.CutMix, self.cutmix)]
        chosen = [(kind, alpha) for kind, alpha in kinds if alpha > 0]
        kind, alpha = chosen[int(torch.randint(len(chosen), ()))]
        images, targets = kind(alpha=alpha, num_classes=num_classes)(images, targets)
        return images.contiguous(memory_format=torch.channels_last), targets  # On a GPU, MixUp's are not.
