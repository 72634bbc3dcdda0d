"""The shape of the paths that samples take."""

from __future__ import annotations

import torch
from torch import Tensor

from diffode.doors import as_state
from diffode.metrics.estimates import Estimate, mean


def straightness(path: Tensor) -> Estimate:
    r"""The mean over samples of a path's chord over its length,

    .. math:: |x_K - x_0| \Big/ \sum_k |x_{k+1} - x_k|,

    1 for a straight line. The length is that of the polygon through the states kept: few states
    overstate it. A path that does not move counts as straight.

    Arguments:
        path: the states, shape (K + 1, B, *event), as ``Solution.path`` has them.

    Raises:
        ValueError: fewer than three states, through which every line is straight.
    """
    path = as_state(path, name="path")
    if path.ndim < 3 or len(path) < 3:
        raise ValueError(
            f"got a path of shape {tuple(path.shape)}; wanted three states or more, (K, B, *event)"
        )
    return mean(straight(path))


def straight(path: Tensor) -> Tensor:
    """Chord over length of each path, shape (B,), float64, from states (K + 1, B, *event)."""
    states = path.cpu().flatten(2).double()
    chord = (states[-1] - states[0]).norm(dim=1)
    length = states.diff(dim=0).norm(dim=2).sum(0)
    return torch.where(length > 0, chord / length, 1.0)
