r"""A Brownian path that is the same whatever the steps: one source of noise for every grid.

The noise of an affine path at :math:`\rho = \sigma/\alpha`, seen from the data, is a Brownian
motion W in :math:`\rho^2`. With unit variance, as :math:`\zeta(\rho) = W(\rho^2) / \rho`, it is
the stationary Gauss-Markov process with

.. math:: \mathrm{Cov}[\zeta(\rho), \zeta(\rho')] = \rho'/\rho \quad (\rho' \le \rho),

which needs no end points: it is defined from :math:`\rho = \infty`, where alpha vanishes, to 0.

A binary tree over :math:`s = \rho^{1/4} / (1 + \rho^{1/4})` in (0, 1) holds it: the value at the
middle of an interval is drawn from its law given the two ends, and the query is drawn in the same
manner inside its cell of the finest level. Each draw is a function of (seed, row, node), so
values do not depend on the order of the queries, on the other queries or on the batch.

References: Levy's construction, as in Karatzas and Shreve, Brownian motion and stochastic calculus
(1991), section 2.3; a tree with random access, Jelincic et al. (2024),
https://arxiv.org/abs/2405.06464.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from diffode.rng import Rng

DEPTH = 16  # cells of at most 1e-3 in log rho between rho = 1e-4 and 1e4
_STRETCH = 4.0
_FAR = 4 * _STRETCH * math.log(10)  # |log rho| beyond which nothing is resolved


class BrownianPath:
    r"""The path of each row of a batch, one for each coordinate.

    Values at ratios in different cells of the tree have exactly the law above, jointly. The nodes
    on the way to the last query are kept, so that a walk along a grid draws about
    ``DEPTH - log2(steps)`` numbers a query instead of ``DEPTH + 1``; no value depends on that.

    Arguments:
        rng: seed and rows.
        shape: (B, \*event).
        dtype, device: of the values returned; the path itself is held in float64.
    """

    def __init__(
        self,
        rng: Rng,
        shape: Sequence[int],
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        self._rng, self._shape, self._dtype, self._device = rng, shape, dtype, device
        self._way: list[tuple[int, Tensor]] = []
        self._last: tuple[float, int, Tensor] | None = None

    def unit(self, rho: float) -> Tensor:
        r"""The unit noise :math:`\zeta(\rho) = W(\rho^2) / \rho`, shape (B, \*event)."""
        return self._find(rho)[2].to(self._dtype)

    def fresh(self, rho: float, rho_next: float) -> Tensor:
        r"""The noise of a reverse step from ``rho`` down to ``rho_next``, standard normal.

        .. math:: z = \frac{\zeta(\rho') - r \zeta(\rho)}{\sqrt{1 - r^2}}, \qquad r = \rho'/\rho,

        the increment of :math:`B = \zeta / \rho`, which is a Brownian motion in :math:`1/\rho^2`,
        at unit variance: the z of a grid's steps are independent.

        Raises:
            ValueError: ratios that do not fall, or that the path does not tell apart.
        """
        if not rho > rho_next:
            raise ValueError(f"got rho {rho:g} to {rho_next:g}; a reverse step lowers rho")
        start, leaf, zeta = self._find(rho)
        end, leaf_next, zeta_next = self._find(rho_next)
        if leaf == leaf_next:
            raise ValueError(
                f"a step from rho {rho:.9g} to {rho_next:.9g} is finer than the Brownian path's "
                f"{2**DEPTH} cells; use fewer steps"
            )
        fresh = (zeta_next - math.exp(end - start) * zeta) / _spread(start - end)
        return fresh.to(self._dtype)

    def _find(self, rho: float) -> tuple[float, int, Tensor]:
        """Log rho, the leaf that it is in, and the unit noise in float64."""
        log_rho = max(-_FAR, min(_FAR, math.log(rho) if rho > 0 else -_FAR))
        if self._last is not None and self._last[0] == log_rho:
            return self._last
        way = _way(log_rho)
        leaf = 2 * way[-1][0] + (log_rho >= way[-1][1])
        known = 0
        while known < len(self._way) and self._way[known][0] == way[known][0]:
            known += 1
        del self._way[known:]
        nodes = [node for node, _ in way[known:]]
        draws = [
            self._rng.at(node).normal("brownian", self._shape, torch.float64, self._device)
            for node in (*nodes, leaf)
        ]
        low, high = -math.inf, math.inf
        at_low: Tensor | float = 0.0
        at_high: Tensor | float = 0.0
        for level, (node, middle) in enumerate(way):
            if level >= known:
                z = draws[level - known]
                self._way.append((node, _between(low, at_low, high, at_high, middle, z)))
            if log_rho < middle:
                high, at_high = middle, self._way[level][1]
            else:
                low, at_low = middle, self._way[level][1]
        zeta = _between(low, at_low, high, at_high, log_rho, draws[-1])
        self._last = log_rho, leaf, zeta
        return self._last


def _way(log_rho: float) -> list[tuple[int, float]]:
    """The nodes from the root to this place, and log rho in their middles.

    The root is 1; the children of a node are 2 node and 2 node + 1.
    """
    node, way = 1, []
    for level in range(DEPTH):
        s = (2 * node + 1) / 2 ** (level + 1) - 1
        middle = _STRETCH * math.log(s / (1 - s))
        way.append((node, middle))
        node = 2 * node + (log_rho >= middle)
    return way


def _between(
    low: float,
    at_low: Tensor | float,
    high: float,
    at_high: Tensor | float,
    middle: float,
    z: Tensor,
) -> Tensor:
    """The unit noise at log rho ``middle`` given that at ``low`` and ``high``, from a draw z."""
    left, right, whole = (_spread(d) for d in (middle - low, high - middle, high - low))
    value = z * (left * right / whole)
    value = value + at_low * (math.exp(low - middle) * (right / whole) ** 2)
    return value + at_high * (math.exp(middle - high) * (left / whole) ** 2)


def _spread(distance: float) -> float:
    """The standard deviation that this distance in log rho leaves, sqrt(1 - exp(-2 distance))."""
    return math.sqrt(-math.expm1(-2 * distance))
