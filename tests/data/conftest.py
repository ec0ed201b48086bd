"""Shared by the tests of data: the data module of the small archive."""

import pytest

from tiny_imagenet.data import TinyImageNetDataModule


@pytest.fixture
def module(archive, data_root):
    def make(**options) -> TinyImageNetDataModule:
        defaults = {"root": str(data_root), "archive": str(archive), "md5": None, "batch_size": 16}
        return TinyImageNetDataModule(**(defaults | options))

    return make
