"""One thread for each library: two spinning pools on the same cores wait for each other."""

import pytest

import toolkit as tk


@pytest.fixture(autouse=True, scope="package")
def single_threads():
    before = tk.get_num_threads()
    tk.set_num_threads(1)
    try:
        import torch
    except ImportError:
        torch = None
    if torch is not None:
        torch_before = torch.get_num_threads()
        torch.set_num_threads(1)
    yield
    tk.set_num_threads(before)
    if torch is not None:
        torch.set_num_threads(torch_before)
