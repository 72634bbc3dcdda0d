"""Tests run side by side, one process a core: each takes one thread."""

import torch

torch.set_num_threads(1)
