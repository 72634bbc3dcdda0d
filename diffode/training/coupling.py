r"""Which noise meets which sample: couplings of the two ends of a path.

A path :math:`x_t = \alpha_t x_0 + \sigma_t n` leads from data to noise for *any* joint law of
:math:`(x_0, n)` with the right two marginals, and so does the flow that is learned from it. Under
the independent one the lines of different pairs cross, and the flow bends where they do. Pairs
that are near to each other cross less:

.. math:: \pi = \arg\min_\pi \sum_{ij} \pi_{ij} |x_i - n_j|^2

over the plans that spread the samples x and the noise n of a batch evenly (*ot*), or with
:math:`\epsilon \, KL(\pi \| \mathrm{uniform})` added (*sinkhorn*). Batches are finite, so the
coupling is between the optimal one and the independent one.

All rows of the global batch are paired together, whatever the number of processes and pieces that
they are shared out to: the answer does not depend on it. Where a label (or a flip) is told to the
network, pairs are made among the rows of one label, or noise would depend on the label, which a
sampler's does not.

References: Pooladian et al. (2023), Multisample flow matching, https://arxiv.org/abs/2304.14772;
Tong et al. (2023), Improving and generalizing flow-based generative models with minibatch optimal
transport, https://arxiv.org/abs/2302.00482.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from diffode.fields.kernels import squared_distances
from diffode.rng import Rng
from diffode.training.batches import Batch, Batches

Coupling = Literal["independent", "ot", "sinkhorn", "pairs"]
Couple = Callable[[Batch, Rng], tuple[Batch, dict[str, Tensor]]]
_ITERATIONS = 50_000_000  # of the network simplex, far more than it takes
_ROUNDS, _UNEVEN = 5000, 0.01  # of Sinkhorn, and how uneven its columns may stay
_UNDERFLOW = 500  # the largest cost over regularisation that a float64 takes the exponential of


@dataclass(frozen=True)
class Paired(Batch):
    r"""Samples, and the noise that each is paired with.

    Attributes:
        n: the noise at unit scale, shape (B, \*event); for an interpolant the other end.
    """

    n: Tensor = field(kw_only=True)


class Whole(Batches):
    """Batches that an objective pairs as a whole, before their rows are shared out.

    Arguments:
        batches: of all rows.
        couple: `Objective.couple`.
    """

    def __init__(self, batches: Batches, couple: Couple) -> None:
        super().__init__(batches.samples, batches.size, batches.seed, batches.transform)
        self._inner, self._couple, self._step = batches, couple, -1
        self._held: Batch | None = None

    def at(self, step: int, rows: Tensor, device: torch.device | None = None) -> Batch:
        """These rows of the step's global batch, which is paired once."""
        if self._held is None or step != self._step:
            every = torch.arange(self.size)
            batch = self._inner.at(step, every, device)
            self._held, logs = self._couple(batch, Rng(self.seed, step=step, rows=every))
            self.logs, self._step = {name: float(value) for name, value in logs.items()}, step
        return self._held.rows(rows.to(self._held.x.device))

    def close(self) -> None:
        """End what reads ahead."""
        self._inner.close()


def coupled(
    batch: Batch,
    n: Tensor,
    kind: str,
    regularisation: float,
    rng: Rng,
    classes: int | None = None,
    flips: bool = False,
) -> tuple[Paired, dict[str, Tensor]]:
    """A batch, each sample with the row of n that it is paired with, and numbers to log.

    Arguments:
        batch: all rows of a step.
        n: what they are paired with, shape (B, *event).
        kind, regularisation, rng: as for `partners`.
        classes, flips: whether the network is told labels, and which images are mirrored: pairs
            are made among rows that are told the same.
    """
    groups = batch.y if classes else None
    if flips and batch.flipped is not None:
        groups = batch.flipped.long() + 2 * (0 if groups is None else groups)
    n = n[partners(batch.x, n, groups, kind, regularisation, rng)]
    cost = (batch.x - n).square().flatten(1).sum(1).mean()
    logs = {f"{kind}_cost": cost, f"{kind}_rows": torch.tensor(len(n))}
    return Paired(batch.x, batch.y, flipped=batch.flipped, n=n), logs


def partners(
    x: Tensor, n: Tensor, groups: Tensor | None, kind: str, regularisation: float, rng: Rng
) -> Tensor:
    """The row of the noise that each sample is paired with, shape (B,).

    Arguments:
        x, n: samples and noise, shape (B, *event).
        groups: what rows must share to be paired, shape (B,) of whole numbers; None for nothing.
        kind: "ot" or "sinkhorn".
        regularisation: of Sinkhorn's plan, epsilon over the mean cost.
        rng: of the draws from Sinkhorn's plan.

    Raises:
        ImportError: POT is not installed.
        ValueError: a plan that is not reached.
    """
    a, b = x.cpu().flatten(1), n.cpu().flatten(1)
    u = rng.uniform("coupling", (len(a),))
    order, keys = torch.arange(len(a)), torch.zeros(len(a)) if groups is None else groups.cpu()
    for key in keys.unique():  # type: ignore[no-untyped-call]
        rows = (keys == key).nonzero().flatten()
        cost = squared_distances(a[rows], b[rows])
        plan = _exact(cost) if kind == "ot" else _entropic(cost, regularisation)
        order[rows] = rows[_drawn(plan, u[rows])]
    return order.to(x.device)


def _drawn(plan: Tensor, u: Tensor) -> Tensor:
    """A column of each row of a plan, drawn by its weights at the probabilities u."""
    below = plan.cumsum(1)
    return torch.searchsorted(below, (u * below[:, -1])[:, None]).flatten().clamp_max(len(u) - 1)


def _exact(cost: Tensor) -> Tensor:
    """The plan of the least cost: each row goes to one column."""
    plan, log = _pot().emd([], [], cost.numpy(), numItermax=_ITERATIONS, log=True)
    if log["warning"] is not None:
        raise ValueError(f"no optimal transport of {len(cost)} rows: {log['warning']}")
    return torch.from_numpy(plan)


def _entropic(cost: Tensor, regularisation: float) -> Tensor:
    """Sinkhorn's plan, in logarithms where exponentials would vanish."""
    size, mean = len(cost), float(cost.mean())
    if mean == 0:
        return torch.ones_like(cost)
    scaled, weights = cost / mean, cost.new_full((size,), 1 / size)
    method = "sinkhorn" if scaled.max() < _UNDERFLOW * regularisation else "sinkhorn_log"
    options = {"numItermax": _ROUNDS, "stopThr": 1e-6, "warn": False}
    plan: Tensor = _pot().sinkhorn(weights, weights, scaled, regularisation, method, **options)
    uneven = float((plan.sum(0) * size - 1).abs().max())
    if not uneven < _UNEVEN:
        raise ValueError(
            f"Sinkhorn's plan is not reached in {_ROUNDS} rounds with regularisation="
            f"{regularisation:g}: its columns are {uneven:.1%} uneven; take a larger one, or "
            "coupling=ot"
        )
    return plan


def _pot() -> Any:  # noqa: ANN401  # an optional library
    try:
        import ot
    except ImportError:
        raise ImportError(
            "optimal transport needs POT; pip install 'diffode[bench]', or take "
            "coupling=independent"
        ) from None
    return ot
