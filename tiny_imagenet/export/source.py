"""What is exported: a checkpoint's classifier, with the pipeline and the images of its run."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tiny_imagenet.classifier import ImageClassifier
from tiny_imagenet.cli.arguments import Plan, plan
from tiny_imagenet.cli.lightning_cli import Cli
from tiny_imagenet.data import ImageDataModule
from tiny_imagenet.data.batches.loader import Batch
from tiny_imagenet.data.batches.pipeline import BatchPipeline
from tiny_imagenet.data.fetch.archive import needs_download
from tiny_imagenet.data.images.packed import PackedImages
from tiny_imagenet.errors import UserError
from tiny_imagenet.report.artefacts import read_test
from tiny_imagenet.run.checkpoint_files import checkpoint_to_test, require_checkpoint
from tiny_imagenet.run.folder import CONFIG
from tiny_imagenet.run.lightning_internals import UnrunCLI
from tiny_imagenet.threads import Register

log = logging.getLogger(__name__)


@dataclass
class Source:
    """A checkpoint to export. `data` is None, and `missing` says why, where the run's test images are not here."""

    checkpoint: Path
    run: Path | None  # None if the checkpoint came without its run
    classifier: ImageClassifier  # in evaluation mode
    pipeline: BatchPipeline
    data: ImageDataModule | None
    missing: str = ""

    def probabilities(self, images: Tensor) -> np.ndarray:
        """The network's own answers, float32 [B, C], for uint8 images [B, 3, S, S] with the pipeline's side S."""
        batch = Batch(images, images, images, -1)
        with torch.inference_mode():
            mean_std = self.classifier.info.mean_std(images.device)
            return self.classifier.predict_step(self.pipeline.evaluate(batch, *mean_std), 0).numpy()

    def test_images(self) -> PackedImages | None:
        """The run's test images, with their labels."""
        return self.data and self.data.sets["test"]

    def metadata(self) -> dict[str, str]:
        """What a user of the file needs to know; lists are JSON, in which every name arrives unchanged."""
        info = self.classifier.info
        facts = {
            "class_ids": json.dumps(list(info.class_ids)),
            "class_names": json.dumps(list(info.class_names)),
            "image_size": str(info.image_size),
            "mean": json.dumps(list(info.mean)),
            "std": json.dumps(list(info.std)),
        }
        with open(self.checkpoint, "rb") as file:
            facts["checkpoint_sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        if self.run is not None:
            run = self.run.resolve()
            facts["run"] = f"{run.parent.name}/{run.name}"
            results = self.run / "test_metrics.json"  # of the checkpoint that `test` takes, as far as is known
            if self.checkpoint.resolve() != checkpoint_to_test(run) or not results.is_file():
                log.info(f"{self.run} has no test of this checkpoint, so the file states no accuracy.")
                return facts
            try:
                facts["test_top1"] = str(read_test(results)["top1"])
            except (OSError, ValueError) as error:
                log.warning(f"The file does not state a test accuracy: {error}.")
        return facts


def read_source(wanted: str, options: Sequence[str]) -> Source:
    """Load a checkpoint, and find the test images of its run, which are not downloaded.

    Args:
        wanted: as for `--ckpt_path`: a checkpoint, a run's folder, last or best.
        options: of `training.py test`, such as --data.root.

    Raises:
        UserError: there is no such checkpoint, it is damaged, would run code, or does not belong to this project.
        jsonargparse.ArgumentError: an option is wrong.
    """
    lone = Path(wanted)
    if not options and lone.is_file() and not (require_checkpoint(lone, training=False) / CONFIG).is_file():
        classifier = _classifier(lone)
        pipeline = BatchPipeline(classifier.info.image_size, None, [], None)
        return Source(lone, None, classifier, pipeline, None, f"{lone} came without the {CONFIG} of its run")
    target = plan(["test", "--ckpt_path", wanted, *options, "--trainer.logger", "false"])
    settings = _Settings(target)
    classifier = _classifier(target.checkpoint, **{name: settings.model.hparams[name] for name in ("tta", "tta_shift")})
    data = settings.datamodule
    source = Source(target.checkpoint, target.run, classifier, data.pipeline, data)
    try:
        if data.archive and needs_download(data.archive, data.root):
            raise UserError(f"{data.archive} was not downloaded to {data.root}")
        data.setup("test")
        data.adopt(classifier.info)
    except (UserError, OSError) as error:
        source.data, source.missing = None, str(error)
    return source


class _Settings(UnrunCLI, Cli):
    """A run's options, checked and instantiated as `test` would."""

    def __init__(self, target: Plan) -> None:
        register = Register()
        try:
            super().__init__(target, register=register)
        finally:
            register.leave()


def _classifier(checkpoint: Path, **options: object) -> ImageClassifier:
    return ImageClassifier.load_from_checkpoint(checkpoint, map_location="cpu", compile=False, **options).eval()
