"""Tests of small tensors are fastest on one thread; those marked slow take all there are."""

import os

import pytest
import torch


@pytest.fixture(autouse=True)
def threads(request):
    torch.set_num_threads((os.cpu_count() or 1) if request.node.get_closest_marker("slow") else 1)
