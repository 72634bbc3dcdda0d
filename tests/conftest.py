"""Tests run side by side, one process a core: each takes one thread.

DIFFODE_TEST_THREADS chooses another number: no test may rest on it.
"""

import os

import pytest
import torch

from tests.runs import made

torch.set_num_threads(int(os.environ.get("DIFFODE_TEST_THREADS", "1")))


@pytest.fixture(scope="session")
def edm(tmp_path_factory):
    return made(tmp_path_factory.mktemp("edm"), "--field", "edm")


@pytest.fixture(scope="session")
def poisson(tmp_path_factory):
    """A Poisson flow of the digits, trained with their labels."""
    return made(tmp_path_factory.mktemp("poisson"), "--field", "pfgm", "--labels")
