"""Generated images, processed like downloaded ones: for a first run and for tests, without a network."""

from typing import Any

from tiny_imagenet.data.fetch.archive import locked
from tiny_imagenet.data.sets.textures import write_synthetic_archive
from tiny_imagenet.data.sets.tiny_imagenet import NATIVE_SIZE, TinyImageNetDataModule


class SyntheticDataModule(TinyImageNetDataModule):
    """Ten classes of generated 64×64 images, written to an archive that is then processed like a downloaded one.

    Args:
        train_per_class: training images of each class; there are a quarter as many for validation.
        others: see `ImageDataModule`. An `archive`, if given, is used instead of a generated one.
    """

    def __init__(
        self,
        root: str = "data",
        archive: str | None = None,
        md5: str | None = None,
        image_size: int = NATIVE_SIZE,
        holdout: int | float = 0.1,
        train_per_class: int = 300,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, archive=archive, md5=md5, image_size=image_size, holdout=holdout, **kwargs)
        self.train_per_class = train_per_class

    def _sources(self) -> list[str]:
        if self.archive is not None:
            return super()._sources()
        archive = self.root.resolve() / f"synthetic-{self.train_per_class}.zip"
        with locked(self.root):
            if not archive.exists():
                write_synthetic_archive(
                    archive, train_per_class=self.train_per_class, val_per_class=self.train_per_class // 4
                )
        return [archive.as_uri()]
