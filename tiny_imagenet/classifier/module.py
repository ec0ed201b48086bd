"""ImageClassifier, the LightningModule: one step for all stages, optimizers, and what a checkpoint carries."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Self

import lightning.pytorch as pl
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torchmetrics import MetricCollection

from tiny_imagenet.classifier.fitting import dataset_of, no_larger_than, require_resumable_by, require_same_network
from tiny_imagenet.classifier.length import total_steps
from tiny_imagenet.classifier.loss import mean_cross_entropy
from tiny_imagenet.classifier.metrics import build_metrics, restore_sums, sums_of_ranks, without_ties
from tiny_imagenet.classifier.views import views
from tiny_imagenet.data import DatasetInfo, ImageDataModule, require_same_classes
from tiny_imagenet.data.batches.loader import Batch
from tiny_imagenet.errors import UserError, first_line, user_message
from tiny_imagenet.models import Downsampling, Stem, build_resnet, require_known
from tiny_imagenet.optim import build_scheduler, parameter_groups
from tiny_imagenet.run.checkpoint_files import FORMAT, FORMAT_KEY, require_checkpoint
from tiny_imagenet.run.lightning_internals import (
    attached_trainer,
    settle_buckets,
    wrap_in_ddp_again,
)

log = logging.getLogger(__name__)


class ImageClassifier(pl.LightningModule):
    """A torchvision ResNet that classifies small images.

    Args:
        arch: any ResNet of torchvision: resnet18 to resnet152, resnext*, wide_resnet*.
        weights: initial weights: a name of torchvision's (IMAGENET1K_V2, DEFAULT), a file with a state dict, or a
            checkpoint of this project; null starts from random weights.
        stem: the layers before the residual blocks: imagenet (7×7 stride 2 and max-pooling), small (3×3 stride 1, as
            for CIFAR-10 in https://arxiv.org/abs/1512.03385), or, between the two, half (3×3 stride 2) and pool (3×3
            stride 1 and max-pooling).
        width: factor on the number of channels.
        blocks: residual blocks of each stage, such as [2, 1, 1, 1]; null takes those of `arch`.
        dropout: probability of dropping a feature before the linear head, 0..1.
        freeze: children of the network that are not trained, such as [conv1, bn1, layer1].
        unfreeze_at: the number of epochs after which a child of `freeze` is trained after all, such as {layer1: 5}.
        max_parameters: refuse to build a larger network.
        zero_init_residual: start each residual block as the identity (https://arxiv.org/abs/1706.02677).
        downsampling: how a stage of blocks halves its feature maps: stride (a 3×3 convolution of stride 2) or max_pool
            (one of stride 1 and max-pooling, which takes more time, and in short trainings was worth it).
        label_smoothing: fraction of each training target that is spread over all classes, 0..1
            (https://arxiv.org/abs/1512.00567).
        optimizer: makes the optimizer from parameter groups; norms and biases are exempt from weight decay.
        scheduler: makes the learning-rate schedule from the optimizer; null keeps the rate constant.
        scheduler_interval: whether the schedule advances every epoch or every step. Schedules with an argument
            `total_steps` get the number of steps of the whole training.
        tta: evaluate each image together with its mirror image, and average their logits (as
            https://arxiv.org/abs/1409.1556 does class probabilities).
        tta_shift: evaluate each image also shifted by this many pixels, once to the right and down and once to the left
            and up, edges reflected, and average the logits of all views: three, or with `tta` six, those of
            https://github.com/KellerJordan/cifar10-airbench, which counts the unshifted ones twice. Evaluation takes
            three times as long, in each validation of `fit` too: better for `test` and `predict` only.
        compile: compile the network with torch.compile.
    """

    def __init__(
        self,
        arch: str = "resnet18",
        weights: str | None = None,
        stem: Stem = "small",
        width: float = 1.0,
        blocks: Sequence[int] | None = None,
        dropout: float = 0.0,
        freeze: Sequence[str] = (),
        unfreeze_at: dict[str, int] | None = None,
        max_parameters: int | None = None,
        zero_init_residual: bool = False,
        downsampling: Downsampling = "stride",
        label_smoothing: float = 0.0,
        optimizer: OptimizerCallable = lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        tta: bool = False,
        tta_shift: int = 0,
        compile: bool = False,
    ) -> None:
        super().__init__()
        require_known(arch)  # now, and not after the data has been prepared
        if not 0 <= label_smoothing < 1:
            raise UserError(f"label_smoothing must be from 0 to below 1, not {label_smoothing}.")
        if tta_shift < 0:
            raise UserError(f"tta_shift must be a number of pixels from 0 up, not {tta_shift}.")
        for name, epochs in (unfreeze_at or {}).items():
            if name not in freeze or epochs < 1:
                raise UserError(
                    f"unfreeze_at: {name}: {epochs} must name a part that freeze names ({', '.join(freeze)}), and at "
                    "least 1 epoch."
                )
        # Plain types only, so that a checkpoint loads with weights_only.
        self.save_hyperparameters(ignore=["optimizer", "scheduler"])
        self.optimizer, self.scheduler = optimizer, scheduler
        self.starting_weights = weights
        self.network: nn.Module | None = None
        self.info: DatasetInfo | None = None
        self._class_weights: Tensor | None = None  # of the training loss, float32 [C]

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path, **options: Any) -> Self:
        """As Lightning's, but safe for a checkpoint from anyone: only weights and plain values are read.

        Raises:
            UserError: the checkpoint is damaged, was not written by this project, or has options of other types.
        """
        if Path(checkpoint_path).is_file():  # Lightning takes URLs too
            require_checkpoint(Path(checkpoint_path), training=False)
        # Lightning would import what a checkpoint names as its instantiator.
        options = {"weights_only": True} | options | {"_instantiator": None}
        try:
            return super().load_from_checkpoint(checkpoint_path, **options)
        except Exception as error:
            if user_message(error) is not None or isinstance(error, OSError):
                raise
            raise UserError(
                f"{checkpoint_path} is damaged: its hyper_parameters can't be used ({first_line(error)})."
            ) from error

    def setup(self, stage: str) -> None:
        if stage != "fit" and self.info is not None and self._data is not None:
            self._data.adopt(self.info)

    def configure_model(self) -> None:
        """Build the network for the classes of the data module, once."""
        if self._fits and not isinstance(self._data, ImageDataModule):
            raise UserError(
                "Trainer.fit needs a data module of tiny_imagenet, which names the classes: fit(model, data)."
            )
        if self.network is None and self._fits:
            self._build(self._data.info, weights=self.starting_weights)
            sizes = [(parameter.numel(), parameter.requires_grad) for parameter in self.network.parameters()]
            frozen = sum(size for size, trained in sizes if not trained)
            log.info(
                f"{self.hparams.arch}: {sum(size for size, _ in sizes):,} parameters"
                + (f", {frozen:,} of them frozen." if frozen else ".")
            )

    def _build(self, info: DatasetInfo, weights: str | None, most: int | None = None) -> None:
        """Build the network, of up to `most` parameters, and its metrics."""
        options = self.hparams
        limits = [limit for limit in (options.max_parameters, most) if limit is not None]
        if options.tta_shift >= info.image_size:
            raise UserError(f"tta_shift is {options.tta_shift} pixels, and images have only {info.image_size} a side.")
        self.info = info
        classes = len(info.class_ids)
        self.network = build_resnet(
            options.arch,
            classes,
            stem=options.stem,
            width=options.width,
            blocks=options.blocks,
            dropout=options.dropout,
            weights=weights,
            freeze=options.freeze,
            max_parameters=min(limits, default=None),
            zero_init_residual=options.zero_init_residual,
            downsampling=options.downsampling,
        ).to(memory_format=torch.channels_last)
        if options.compile:
            # With sizes as variables, inductor would give up channels_last. Training batches have two sizes, those of
            # evaluation others, each with all sides of `progressive`: more than Dynamo compiles by default.
            torch._dynamo.config.recompile_limit = 64
            self.network.compile(dynamic=False)
        self.train_metrics, self.val_metrics, self.test_metrics = (
            build_metrics(stage, classes) for stage in ("train", "val", "test")
        )

    @property
    def _data(self) -> ImageDataModule | None:
        """The trainer's data module; None where there is none."""
        return getattr(attached_trainer(self), "datamodule", None)

    @property
    def _fits(self) -> bool:
        trainer = attached_trainer(self)
        return trainer is not None and trainer.state.fn == "fit"

    # Freezing, and the weights of the classes

    def on_train_start(self) -> None:
        weights = self._data.loss_weights
        self._class_weights = None if weights is None else torch.from_numpy(weights).float().to(self.device)
        self._settle_buckets()
        self._unfreeze()  # what was unfrozen before a resume

    def on_train_epoch_start(self) -> None:
        self._unfreeze()

    def _unfreeze(self) -> None:
        """Train the children that have been frozen for long enough."""
        at = self.hparams.unfreeze_at or {}
        due = [name for name in self.network.frozen if name in at and self.current_epoch >= at[name]]
        if due:
            self.network.unfreeze(due)
            wrap_in_ddp_again(self.trainer)
            self._settle_buckets()
            log.info(f"Epoch {self.current_epoch + 1}: {', '.join(due)} trained from here on.")

    def _settle_buckets(self) -> None:
        side = self.info.image_size
        settle_buckets(self.trainer, torch.zeros(2, 3, side, side, device=self.device))

    # Steps

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] to logits [B, C]."""
        return self.network(images)

    def training_step(self, batch: Batch | tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss, _ = self._step(batch, self.train_metrics, self.hparams.label_smoothing, self._class_weights)
        every = self.trainer.log_every_n_steps
        if every and (self.trainer.global_step + 1) % every == 0:  # Logging takes 0.6 ms even if nothing is kept.
            self.log("train/loss_step", loss)
        return loss

    def validation_step(self, batch: Batch | tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._step(batch, self.val_metrics)

    def test_step(self, batch: Batch | tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return scores [B, C] that rank the classes without ties, for `TestResults`."""
        return self._step(batch, self.test_metrics)[1]

    def predict_step(self, batch: Batch | tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return class probabilities [B, C]."""
        return self._logits(batch[0]).softmax(dim=1)

    def _step(
        self,
        batch: Batch | tuple[Tensor, Tensor],
        metrics: MetricCollection,
        label_smoothing: float = 0.0,
        weights: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The loss, and scores [B, C] that order the classes as the logits do; adds both to the metrics."""
        images, targets = batch[:2]
        logits = self._logits(images)
        loss = mean_cross_entropy(logits, targets, label_smoothing, weights)
        # A mixed image counts as the image that most of it comes from.
        labels = targets if targets.ndim == 1 else targets.argmax(dim=1)
        scores = logits.detach() if self.training else without_ties(logits)
        if len(labels) == 0:  # If the images do not divide by the ranks, a rank has none in its last evaluation step.
            return loss, scores
        # Once for each image, since MeanMetric ignores a `weight` while its check for NaN is off (torchmetrics 1.9).
        metrics.update(preds=scores, target=labels, value=loss.detach().expand(len(labels)))
        return loss, scores

    def _logits(self, images: Tensor) -> Tensor:
        """Logits [B, C]; in evaluation float32, the mean over the views of `tta` and `tta_shift`."""
        if self.training:
            return self(images)
        seen = views(images, self.hparams.tta, self.hparams.tta_shift)
        return sum(self(view).float() for view in seen) / len(seen)

    def on_train_epoch_end(self) -> None:
        self._log(self.train_metrics)

    def on_validation_epoch_end(self) -> None:
        self._log(self.val_metrics)

    def on_test_epoch_end(self) -> None:
        self._log(self.test_metrics)

    def _log(self, metrics: MetricCollection) -> None:
        # compute() sums over all ranks, so every rank logs the same exact value.
        self.log_dict(metrics.compute(), prog_bar=True)
        metrics.reset()

    # Optimizers

    def configure_optimizers(self) -> dict[str, Any]:
        try:
            optimizer = self.optimizer(parameter_groups(self.network, self.hparams.unfreeze_at or ()))
        except ValueError as error:
            raise UserError(f"model.optimizer: {error}.") from error
        if self.scheduler is None:
            return {"optimizer": optimizer}
        interval = self.hparams.scheduler_interval
        scheduler = build_scheduler(
            self.scheduler, optimizer, total_steps(self.trainer) if interval == "step" else None
        )
        config = {"scheduler": scheduler, "interval": interval}
        if hasattr(scheduler, "monitor"):
            config["monitor"] = scheduler.monitor
        return {"optimizer": optimizer, "lr_scheduler": config}

    def lr_scheduler_step(self, scheduler: Any, metric: float | None) -> None:
        """As Lightning's, but a schedule that watches a metric advances once an epoch, however often it is called.

        Lightning calls it after the epoch's checkpoint is saved, so `RunCheckpoint` calls it before.
        """
        by_epoch = self.hparams.scheduler_interval == "epoch"
        if metric is None or not by_epoch or scheduler.last_epoch <= self.current_epoch:
            super().lr_scheduler_step(scheduler, metric)

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[FORMAT_KEY] = FORMAT
        checkpoint["dataset"] = asdict(self.info)
        # Of an unfinished epoch: after a resume, train/* are means over all of it.
        checkpoint["train_metrics"] = sums_of_ranks(self.train_metrics, self.all_gather)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build the network of the checkpoint, or refuse a checkpoint that does not fit the training.

        Raises:
            UserError: the checkpoint is not of this project or of a later version of it, it is of another network, its
                classes are not those of the data, or the training cannot be resumed exactly.
        """
        info, trainer = dataset_of(checkpoint), attached_trainer(self)
        require_same_network(checkpoint, self.hparams)
        if self.network is None:
            if self._data is not None:
                self._data.adopt(info)
            with no_larger_than(checkpoint) as most:
                self._build(info, weights=None, most=most)
        else:
            require_same_classes(info, self.info.class_ids)
        if self._fits:
            require_resumable_by(trainer, checkpoint, by_steps=self.hparams.scheduler_interval == "step")
        ranks = trainer.world_size if trainer else 1
        restore_sums(self.train_metrics, checkpoint["train_metrics"], self.global_rank, ranks)
