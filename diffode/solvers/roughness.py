r"""Whether a network is far from a Gaussian's field where the noise is largest.

At the prior a field is all but that of one Gaussian, whose slope in the angle is 0:

.. math:: H = \cos\theta \, E[n|x] - \sin\theta \, (E[x_0|x] - m) / s .

Exact fields have an rms of H of .002 to .01 there; a network's error is its H. Those above .14
are called rough: on them a solve of 10 steps or more gains by more steps at both ends and by order
3 (4 from 50 steps on), see docs/appendix/solvers.md, and on the smoothest networks it loses. Those
above 1 are very rough: they need their steps at the prior more than others. The first solve of a
network looks at 32 fixed points for it, and what was found stays while its weights do. No row of a
solve has a part in it.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import nn

from diffode.doors import needs_labels
from diffode.fields.affine import AffineField
from diffode.fields.base import expand_like
from diffode.fields.wrapped import Wrapped
from diffode.rng import Rng

THRESHOLD, VERY, POINTS = 0.14, 1.0, 32

_Weights = tuple[tuple[int, int], ...]
_found: WeakKeyDictionary[nn.Module, tuple[_Weights, float]] = WeakKeyDictionary()


def is_rough(field: AffineField, least: float = THRESHOLD) -> bool:
    """Whether a field is a network with more roughness than this; wrappers are looked through."""
    while isinstance(field, Wrapped):
        field = field.inner
    if next(field.parameters(), None) is None:
        return False
    weights = tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in _all(field))
    known = _found.get(field)
    if known is None or known[0] != weights:
        if field.prior is None:
            return False
        known = _found[field] = weights, roughness(field)
    return known[1] > least


def roughness(field: AffineField, points: int = POINTS) -> float:
    """The rms of the slope H at the prior, over fixed points."""
    y = None
    if needs_labels(field):
        y = torch.arange(points, device=field.device) % (field.classes or 1)
    with torch.no_grad():
        x, field = _started(field, points, y)
        t = field.span[0]
        x0, n = field.posterior(x, t, y)
        alpha, sigma = (expand_like(v, x) for v in field.level(t, x))
        mean, std = field.moments
        size = torch.hypot(alpha * std, sigma)
        slope = (alpha * std * n - sigma * (x0 - mean.to(x)) / std) / size
    return float(slope.double().square().mean().sqrt())


def _started(
    field: AffineField, points: int, y: torch.Tensor | None
) -> tuple[torch.Tensor, AffineField]:
    x, started = field.start(points, Rng(0), y)
    assert isinstance(started, AffineField)
    return x, started


def _all(field: AffineField) -> list[torch.Tensor]:
    return [*field.parameters(), *field.buffers()]
