"""MixUp and CutMix of training batches, by torchvision, with one draw per batch.

MixUp: Zhang et al. 2018, https://arxiv.org/abs/1710.09412. CutMix: Yun et al. 2019, https://arxiv.org/abs/1905.04899.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2

from tiny_imagenet.data.augment.base import require_probability
from tiny_imagenet.errors import UserError


@dataclass(frozen=True)
class Mix:
    """Mix each image of a batch with another one of the batch.

    Args:
        mixup: alpha of MixUp's Beta(alpha, alpha) distribution; 0 leaves MixUp out.
        cutmix: alpha of CutMix's Beta(alpha, alpha) distribution; 0 leaves CutMix out. With both, each batch draws one.
        probability: fraction of batches to mix, 0..1.
        epochs_without: number of epochs without mixing at the end of the training.
    """

    mixup: float = 0.0
    cutmix: float = 1.0
    probability: float = 1.0
    epochs_without: int = 0

    def __post_init__(self) -> None:
        if min(self.mixup, self.cutmix) < 0 or self.mixup == self.cutmix == 0:
            raise UserError(
                "mix needs alphas of at least 0 for mixup and cutmix, and one above 0, not "
                f"{self.mixup} and {self.cutmix}. To mix nothing, set mix to null."
            )
        require_probability("mix.probability", self.probability)

    def __call__(self, images: Tensor, targets: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        """Mix a batch.

        Args:
            images: float [B, 3, H, W].
            targets: class labels, int64 [B].
            num_classes: C.

        Returns:
            Images and targets as given or, if the batch is mixed, images in channels-last memory and targets float
            [B, C], in rows that sum to 1.
        """
        if torch.rand(()).item() >= self.probability:
            return images, targets
        kinds = [(v2.MixUp, self.mixup), (v2.CutMix, self.cutmix)]
        chosen = [(kind, alpha) for kind, alpha in kinds if alpha > 0]
        kind, alpha = chosen[int(torch.randint(len(chosen), ()))]
        images, targets = kind(alpha=alpha, num_classes=num_classes)(images, targets)
        # MixUp's images are not channels-last on a GPU.
        return images.contiguous(memory_format=torch.channels_last), targets
