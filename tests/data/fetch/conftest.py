"""Shared by the tests of fetching: a data folder that does not exist yet, and a server of a good archive."""

import pytest

from tests.helpers.archives import Server, write_zip


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def server(tmp_path):
    server = Server(write_zip(tmp_path / "served.zip").read_bytes())
    yield server
    server.http.shutdown()
    server.http.server_close()
