import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """On a busy machine, two threads of so small a network mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
