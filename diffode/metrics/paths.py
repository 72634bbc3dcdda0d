"""The shape of the paths that samples take."""

from __future__ import annotations

import torch
from torch import Tensor

from diffode.doors import as_state, as_times
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
    return mean(straight(_several(path)))


def straightness_defect(path: Tensor, times: Tensor) -> Estimate:
    r"""How much a velocity changes along its paths, in the mean over samples,

    .. math:: S = \int_0^1 E \left| \frac{dx}{d\tau} - (x(1) - x(0)) \right|^2 d\tau
              = \sum_k \frac{|x_{k+1} - x_k|^2}{\tau_{k+1} - \tau_k} - |x_K - x_0|^2,

    with :math:`\tau` the time on [0, 1]; 0 where one Euler step is exact. Unlike `straightness` it
    sees a change of speed on a straight line. A path that is kept at few times understates it.

    Reference: Liu et al. (2022), Flow straight and fast, https://arxiv.org/abs/2209.03003,
    section 2.2: S(Z).

    Arguments:
        path: the states, shape (K + 1, B, \*event), as ``Solution.path`` has them.
        times: their times, shape (K + 1,), strictly monotone, as ``Solution.times``.

    Raises:
        ValueError: fewer than three states, or another number of times.
    """
    path = _several(path)
    t = as_times(times, path[0])
    if len(t) != len(path):
        raise ValueError(f"got {len(t)} times for a path of {len(path)} states; wanted one each")
    states = path.cpu().flatten(2).double()
    step = (t.diff() / (t[-1] - t[0])).cpu()
    moved = states.diff(dim=0).square().sum(2) / step[:, None]
    return mean(moved.sum(0) - (states[-1] - states[0]).square().sum(1))


def straight(path: Tensor) -> Tensor:
    """Chord over length of each path, shape (B,), float64, from states (K + 1, B, *event)."""
    states = path.cpu().flatten(2).double()
    chord = (states[-1] - states[0]).norm(dim=1)
    length = states.diff(dim=0).norm(dim=2).sum(0)
    return torch.where(length > 0, chord / length, 1.0)


def _several(path: Tensor) -> Tensor:
    """A path, if it has three states or more."""
    path = as_state(path, name="path")
    if path.ndim < 3 or len(path) < 3:
        raise ValueError(
            f"got a path of shape {tuple(path.shape)}; wanted three states or more, (K, B, *event)"
        )
    return path
