"""The exponential moving average of the weights, on the training device and without waiting for it."""

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from tiny_imagenet.run.lightning_internals import set_average_model


class EMA(EMAWeightAveraging):
    """Lightning's EMAWeightAveraging without the waits for a GPU at every step.

    After each step, average = decay · average + (1 - decay) · weights (https://arxiv.org/abs/1703.01780). Validation
    and checkpoints use the average, and training continues from the weights. Lightning (2.6) leaves the average on the
    CPU, and torch (2.15) copies the number of updates to the GPU once for each tensor of the network.

    Args:
        device: where the average is kept, such as cpu if the GPU has no room; null keeps it where the network is.
        use_buffers: average BatchNorm's statistics too; otherwise they are those of the weights.
        decay: factor of the average at each step; 0.999 averages over about 1,000 steps.
        update_every_n_steps: how often.
        update_starting_at_step: before this step, nothing is averaged; null starts at once.
        update_starting_at_epoch: from this epoch on, average at the end of each epoch as well; null does not.
    """

    def __init__(
        self,
        device: str | None = None,
        use_buffers: bool = True,
        decay: float = 0.999,
        update_every_n_steps: int = 1,
        update_starting_at_step: int | None = None,
        update_starting_at_epoch: int | None = None,
    ) -> None:
        super().__init__(
            device, use_buffers, decay, update_every_n_steps, update_starting_at_step, update_starting_at_epoch
        )
        self.device, self.use_buffers, self.decay = device, use_buffers, decay

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            pl_module.configure_model()
            device = torch.device(self.device) if self.device else trainer.strategy.root_device
            set_average_model(self, _Average(pl_module, device, self.use_buffers, self.decay))


class _Average(AveragedModel):
    def __init__(self, model: nn.Module, device: torch.device, use_buffers: bool, decay: float) -> None:
        super().__init__(model, device, use_buffers=use_buffers)
        self.decay = decay
        self.n_averaged = torch.zeros((), dtype=torch.long)  # on the CPU, where it is read

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """One operation for all tensors: average weights and statistics, copy counts."""
        (averages, counts), (weights, current_counts) = self._split(self.module), self._split(model)
        if self.n_averaged == 0:
            torch._foreach_copy_(averages, weights)
        else:
            there = [tensor.to(average.device) for tensor, average in zip(weights, averages, strict=True)]
            torch._foreach_lerp_(averages, there, 1 - self.decay)
        if counts:
            torch._foreach_copy_(counts, current_counts)
        self.n_averaged += 1

    def _split(self, model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
        averaged, copied = list(model.parameters()), []
        for buffer in model.buffers():
            (averaged if self.use_buffers and buffer.is_floating_point() else copied).append(buffer)
        return averaged, copied
