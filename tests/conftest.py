"""Tests run side by side, one process a core: each takes one thread.

Networks that a test builds are drawn by torch's own generator, which is set before each test and
before each file is read: a failure comes back when it is looked for. DIFFODE_TEST_THREADS and
DIFFODE_TEST_SEED choose other numbers: no test may rest on them.
"""

import os

import pytest
import torch

from tests.runs import made

SEED = int(os.environ.get("DIFFODE_TEST_SEED", "0"))
torch.set_num_threads(int(os.environ.get("DIFFODE_TEST_THREADS", "1")))


def pytest_collectstart(collector):
    torch.manual_seed(SEED)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    torch.manual_seed(SEED)


@pytest.fixture(scope="session")
def edm(tmp_path_factory):
    return made(tmp_path_factory.mktemp("edm"), "--field", "edm")


@pytest.fixture(scope="session")
def poisson(tmp_path_factory):
    """A Poisson flow of the digits, trained with their labels."""
    return made(tmp_path_factory.mktemp("poisson"), "--field", "pfgm", "--labels")
