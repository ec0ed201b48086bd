"""When a run is saved, so that a training that was stopped anywhere continues as if it had never stopped.

Exact resuming rests on three rules. All randomness of a step follows from (seed, epoch, batch, rank), so no generator's
state is saved. A checkpoint is written only where Lightning's progress can be resumed: after an optimizer step that is
not the last of its epoch, and at the very end of an epoch. And what Lightning would lose, the sums behind an epoch's
means and the rows of metrics.csv, is in the checkpoint.
"""

import logging
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NoReturn

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, Timer

from tiny_imagenet.errors import UserError
from tiny_imagenet.run import lightning_internals
from tiny_imagenet.run.best_epoch import best_row
from tiny_imagenet.run.checkpoint_writer import UNFINISHED, CheckpointWriter, folder_gone
from tiny_imagenet.run.finite import FiniteCheck
from tiny_imagenet.run.folder import CHECKPOINTS, METRICS
from tiny_imagenet.run.history import History, shortest_float
from tiny_imagenet.run.metric_names import is_learning_rate
from tiny_imagenet.run.restoring import name_parts_that_do_not_fit
from tiny_imagenet.run.stop_signals import StopSignals

log = logging.getLogger(__name__)


class RunCheckpoint(Checkpoint):
    """Saves a run's state in `checkpoints/{last,previous,best}.ckpt` and its history in `metrics.csv`.

    It saves at the end of every epoch and, within an epoch, every so many steps or minutes. `last.ckpt` is always
    whole: it is written under another name, then renamed, and the one before it becomes `previous.ckpt`. `best.ckpt` is
    of the epoch with the best `monitor`, in progressive training of those with the current image size. Ctrl-C and
    SIGTERM save at the end of the step and raise `Interrupted`; a second Ctrl-C exits at once. A loss or weights that
    are not finite end the training and are never saved.

    Args:
        every_n_steps: save after this many optimizer steps, besides every epoch; null does not.
        every_minutes: save after this many minutes, besides every epoch; null does not.
        monitor: validation metric that chooses the best epoch.
        mode: whether a higher (max) or lower (min) value is better.
    """

    def __init__(
        self,
        every_n_steps: int | None = None,
        every_minutes: float | None = 10.0,
        monitor: str = "val/top1",
        mode: Literal["max", "min"] = "max",
    ) -> None:
        self.every_n_steps, self.every_minutes, self.monitor, self.mode = every_n_steps, every_minutes, monitor, mode
        self.history = History()
        self._finite = FiniteCheck()
        self._signals = StopSignals()
        self._validation: dict[str, float] = {}  # metrics of this epoch's last validation
        self._patience: dict[EarlyStopping, int] = {}  # as configured
        self._stopped_early = False
        self._trained, self._seen_step, self._saved_at = False, 0, 0.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        name_parts_that_do_not_fit(trainer)
        if stage == "fit":
            trainer.strategy.checkpoint_io = self._writer = CheckpointWriter()
            self._patience = {each: each.patience for each in trainer.callbacks if isinstance(each, EarlyStopping)}

    # When to save

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._restore_metrics(trainer)
        self._seen_step, self._saved_at = trainer.global_step, time.monotonic()
        # Lightning would train one more epoch each time that a training which had stopped early is resumed, and would
        # ignore a new patience.
        changed = {callback: patience for callback, patience in self._patience.items() if callback.patience != patience}
        for callback, patience in changed.items():
            callback.patience = patience
        trainer.should_stop |= self._stopped_early and not changed
        if lightning_internals.take_sigterm(trainer):
            self._signals.received = signal.SIGTERM
        lightning_internals.stop_broadcasting_sigterm(trainer)  # signals are noted here instead
        if not _within_epoch(trainer):
            lightning_internals.begin_next_epoch(trainer)
        # For a schedule that watches one of them, if an epoch is resumed after its validation.
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in self._validation.items()})
        self._signals.take(speaks=trainer.is_global_zero)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._trained = True
        self._finite.update(outputs["loss"].detach(), trainer.global_step)
        if trainer.global_step == self._seen_step:
            return  # Gradients are still accumulating.
        self._seen_step = trainer.global_step
        signalled, late = self._signals.received is not None, self._is_late()
        if self._seen_step % (trainer.log_every_n_steps or 50) == 0:  # This waits for the device and other ranks.
            signalled, late = _any_rank(trainer, lambda: self._require_sound(trainer, pl_module), signalled, late)
        elif trainer.world_size > 1:
            signalled = late = False
        # If the training ends within an epoch (max_steps, max_time), this is the state to resume from.
        ending = trainer.should_stop or trainer.global_step == trainer.max_steps
        # Without check_val_every_n_epoch, Lightning counts the batches of all epochs.
        batch = batch_idx + 1 if trainer.check_val_every_n_epoch else lightning_internals.batches_trained(trainer)
        validates = batch % (trainer.val_check_batch or math.inf) == 0
        if trainer.is_last_batch or (validates and not ending):
            return  # A checkpoint would skip the validation that follows; the next step or the epoch's end saves.
        if signalled or late or ending or (self.every_n_steps and trainer.global_step % self.every_n_steps == 0):
            self._save(trainer, pl_module)
        if signalled:
            self._exit(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self._validation = _of_epoch(trainer, "val/")
        self._stopped_early = _has_stopped_early(trainer)
        if self._stopped_early and _within_epoch(trainer):  # No further step would save it.
            self._save(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning calls this hook of a Checkpoint last, when all metrics of the epoch are there.
        metrics = _of_epoch(trainer, "")
        # Lightning keeps the metrics of the last validation, which may have been in an earlier epoch.
        metrics = {name: value for name, value in metrics.items() if not name.startswith("val/")} | self._validation
        self._validation = {}
        # A user may log "step" or "epoch", which Lightning's loggers then take as their x-axis.
        row = {**metrics, "epoch": trainer.current_epoch, "step": trainer.global_step}
        history = History([*self.history.rows, row])
        if not _within_epoch(trainer):
            # Lightning does so again after this hook, which ImageClassifier.lr_scheduler_step ignores.
            lightning_internals.step_watching_schedules(trainer)
            self.history = history
            self._stopped_early = _has_stopped_early(trainer)
            self._save(trainer, pl_module, best=best_row(history.rows, self.monitor, self.mode) is row)
        if trainer.is_global_zero:
            history.write(Path(trainer.default_root_dir) / METRICS)
        if trainer.strategy.reduce_boolean_decision(self._signals.received is not None, all=False):
            self._exit(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _any_rank(trainer, self._writer.wait)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._trained and trainer.is_global_zero:
            self._restore_metrics(trainer)  # Even if nothing is left to train: the file's last row may be lost.
            log.warning("Already finished: max_epochs, max_steps, max_time or EarlyStopping had ended this training.")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._signals.give_back()

    def _restore_metrics(self, trainer: pl.Trainer) -> None:
        path = Path(trainer.default_root_dir) / METRICS
        if trainer.is_global_zero and self.history.rows and not self.history.is_in(path):
            self.history.write(path)

    def _is_late(self) -> bool:
        return self.every_minutes is not None and time.monotonic() - self._saved_at >= 60 * self.every_minutes

    def _exit(self, trainer: pl.Trainer) -> NoReturn:
        _any_rank(trainer, self._writer.wait)
        environment = getattr(trainer.strategy, "cluster_environment", None)
        # Lightning's first process kills itself at once if one that it launched exits with another status than 0.
        launched = isinstance(environment, LightningEnvironment) and environment.local_rank() > 0
        self._signals.interrupt(launched)

    # What is saved, and how

    def state_dict(self) -> dict[str, Any]:
        return {
            "rows": self.history.rows, "validation": self._validation, "stopped_early": self._stopped_early,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = History(state_dict["rows"])
        self._validation = state_dict.get("validation", {})
        self._stopped_early = state_dict.get("stopped_early", False)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["run"] = str(trainer.default_root_dir)  # for those that another callback saves elsewhere

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn == "fit":
            lightning_internals.complete_last_epoch(checkpoint)

    def _require_sound(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise UserError if the loss or weights are not finite, the last save failed, or the run's folder is gone."""
        run = Path(trainer.default_root_dir)
        if trainer.is_global_zero and not run.is_dir():  # The next file written there would create it again.
            raise folder_gone(run)
        self._writer.require_written()
        self._finite.require(pl_module, trainer.global_step)

    def _save(self, trainer: pl.Trainer, pl_module: pl.LightningModule, best: bool = False) -> None:
        def require() -> None:
            self._writer.wait()
            self._require_sound(trainer, pl_module)

        _any_rank(trainer, require)
        self._writer.best = best
        # On every rank: hooks gather what is saved, and one rank writes it.
        trainer.save_checkpoint(Path(trainer.default_root_dir) / CHECKPOINTS / UNFINISHED, weights_only=False)
        self._saved_at = time.monotonic()


def _any_rank(trainer: pl.Trainer, require: Callable[[], None], *answers: bool) -> list[bool]:
    """For each answer, whether any rank's is true, in one reduction over the ranks.

    Raises:
        UserError: `require` raised it on one rank; all ranks raise it, so that none waits for another.
    """
    fault = None
    try:
        require()
    except UserError as error:
        fault = error
    answers = [fault is not None, *answers]
    if trainer.world_size > 1:
        answers = torch.tensor(answers, dtype=torch.int32, device=trainer.strategy.root_device)
        answers = trainer.strategy.reduce(answers, reduce_op="sum").tolist()
    if answers[0]:
        raise fault or UserError("Another process of this run has failed: see its message.")
    return [bool(answer) for answer in answers[1:]]


def _within_epoch(trainer: pl.Trainer) -> bool:
    """Whether an epoch has begun and is not finished."""
    return lightning_internals.batches_trained(trainer) % trainer.datamodule.steps_per_epoch != 0


def _has_stopped_early(trainer: pl.Trainer) -> bool:
    """Whether a callback ends the training, other than a Timer, which decides anew when the training is resumed."""
    if not trainer.should_stop:
        return False
    remaining = [callback.time_remaining() for callback in trainer.callbacks if isinstance(callback, Timer)]
    # As the first process sees it, since the clocks of others may differ.
    return trainer.strategy.broadcast(all(seconds is None or seconds > 0 for seconds in remaining))


def _of_epoch(trainer: pl.Trainer, prefix: str) -> dict[str, float]:
    """The metrics with this prefix that are of a whole epoch, not of its last step."""
    return {
        name: shortest_float(value)
        for name, value in trainer.callback_metrics.items()
        if name.startswith(prefix) and not name.endswith("_step") and not is_learning_rate(name)
    }
