import pytest

from tiny_imagenet.data import TinyImageNetDataModule


@pytest.fixture
def data(archive, data_root) -> TinyImageNetDataModule:
    """The small archive, set up to train in batches of 16."""
    module = TinyImageNetDataModule(str(data_root), str(archive), None, batch_size=16)
    module.setup("fit")
    return module
