"""A bed as another library's sampler sees it, and one run on it with every model call counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.beds import Bed, reference
from diffode.fields.schedules import VE, Cosine, Karras, Rectified, Schedule


class Spent(Exception):
    """The budget of model calls is spent."""


class End(NamedTuple):
    """Where a sampler stopped: y = x / alpha, shape (B, *event), and its rho = sigma / alpha."""

    y: Tensor
    rho: float


@dataclass
class Problem:
    """A model and its start, as another library sees them.

    Attributes:
        kind: "vp", "edm" or "rect", the convention that the model was trained in.
        schedule: alpha, sigma and the span.
        rho_max, rho_data: the noise-to-signal ratios of the prior (999 at most) and of t_data.
        means: E[x_0 | x] and E[n | x] for x = alpha x_0 + sigma n.
        start: the state at (alpha, sigma) on the trajectory that is to be followed.
        limit: calls after which `posterior` raises.
        calls: model calls so far.
    """

    kind: str
    schedule: Schedule
    rho_max: float
    rho_data: float
    means: Callable[[Tensor, float, float], tuple[Tensor, Tensor]]
    start: Callable[[float, float], Tensor]
    limit: int = 10**9
    calls: int = 0
    memo: dict[str, Any] = field(default_factory=dict)

    def posterior(
        self, x: Tensor, alpha: Tensor | float, sigma: Tensor | float
    ) -> tuple[Tensor, Tensor]:
        """One model call: E[x_0 | x] and E[n | x] at this level.

        Raises:
            Spent: the limit of calls is reached.
        """
        if self.calls >= self.limit:
            raise Spent
        self.calls += 1
        return self.means(x, float(alpha), float(sigma))

    def level(self, t: float) -> tuple[float, float]:
        """Alpha and sigma at time t of the schedule."""
        at = torch.tensor(t, dtype=torch.float64)
        return float(self.schedule.alpha(at)), float(self.schedule.sigma(at))


class Peer(NamedTuple):
    """A sampler: its name, the kinds of problem it is for, and how it spends ``nfe`` calls.

    ``run`` returns None where that many calls do not make one run.
    """

    name: str
    kinds: tuple[str, ...]
    run: Callable[[Problem, int], End | None]


def kind_of(schedule: Schedule) -> str:
    """The convention that a schedule belongs to; Poisson flows run on EDM's."""
    if isinstance(schedule, Rectified | Cosine):
        return "rect"
    return "edm" if isinstance(schedule, Karras | VE) else "vp"


def problem(bed: Bed, state: Callable[[Bed, float], Tensor] = reference) -> Problem:
    """A bed as a problem; ``state`` gives y on its trajectory at any rho."""
    first = bed.field.span[0]
    _, sigma0 = bed.level(first)

    def means(x: Tensor, alpha: float, sigma: float) -> tuple[Tensor, Tensor]:
        if alpha < 1e-9 * sigma:
            return bed.field.posterior(x * (sigma0 / sigma), first)
        return bed.canonical(x / alpha, sigma / alpha)

    def start(alpha: float, sigma: float) -> Tensor:
        if alpha < 1e-9 * sigma:
            return bed.x * (sigma / sigma0)
        return alpha * state(bed, sigma / alpha)

    schedule = bed.field.schedule
    top = min(bed.rho(first), 999.0)
    return Problem(kind_of(schedule), schedule, top, bed.rho_data, means, start)


def run(peer: Peer, p: Problem, nfe: int) -> tuple[End, int] | None:
    """Run a sampler with at most ``nfe`` model calls: where it ended, and the calls it made.

    None where the sampler has no run of that many calls.
    """
    p.calls, p.limit = 0, nfe
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            end = peer.run(p, nfe)
    except Spent:
        return None
    finally:
        torch.set_default_dtype(default)
    if end is None:
        return None
    return End(end.y, 0.0 if end.rho < 1e-12 else end.rho), p.calls
