r"""Twisted sequential Monte Carlo: samples of the law given an observation, by many particles.

A `Conditioned` field proposes each step of the ancestral sampler; particles carry weights for what
the proposal gets wrong, and are drawn anew by them where the weights have become unequal. With
:math:`\tilde p(y | x)` the field's own estimate (the twist), p the ancestral step without y and q
the one with it, a step from x to x' multiplies the weight by

.. math:: \frac{p(x' | x) \, \tilde p(y | x')}{q(x' | x) \, \tilde p(y | x)},

and the last twist is the likelihood :math:`N(y; H x_0, s_y^2)` of the sample itself. So the
weighted particles have, as their number grows, the law of the ancestral sampler's samples given y,
whatever the twist; a better twist needs fewer. The mean weight estimates p(y).

Reference: Wu et al. (2023), Practical and asymptotically exact conditional sampling in diffusion
models, https://arxiv.org/abs/2306.17775, algorithm 1, there with the gradient of
:math:`N(y; H E[x_0|x], s_y^2)` as the proposal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from diffode.data.scaling import data_units
from diffode.doors import Numbers, as_count
from diffode.fields.affine import AffineField
from diffode.fields.base import expand_like
from diffode.fields.conditioning import Conditional, Conditioned, Method
from diffode.fields.guidance import require_affine
from diffode.fields.linear import LinearOperator
from diffode.fields.observations import one_observation
from diffode.fields.schedules import Schedule
from diffode.priors import is_normal
from diffode.rng import Rng
from diffode.sampling.batches import slices
from diffode.sampling.choosing import times_for
from diffode.solvers import Solution
from diffode.solvers.status import with_lost
from diffode.solvers.stochastic import Ancestral
from diffode.warned import DegeneracyWarning, warn


@dataclass(frozen=True, kw_only=True)
class ParticleSolution(Solution):
    """Samples of the law given an observation, and how they were come by.

    Attributes:
        particles: the number in one run.
        ess: the effective number of particles, 1 / sum of squared weights, of each run at each
            time, the last of the samples: shape (len(times) + 1, runs).
        resamplings: how often each run drew its particles anew, the last draw not counted, shape
            (runs,).
        log_evidence: the estimate of log p(y) by all runs, in nats. exp of it has no bias for
            the law of the ancestral sampler's samples.
        log_evidences: that of each run, shape (runs,): their spread is its error.
    """

    particles: int
    ess: Tensor
    resamplings: Tensor
    log_evidence: float
    log_evidences: Tensor


def twisted(
    field: AffineField,
    operator: LinearOperator,
    observation: Numbers,
    noise: float,
    n: int,
    particles: int | None = None,
    nfe: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    y: int | None = None,
    method: Method = "pigdm",
    grid: str | None = None,
    batch: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> ParticleSolution:
    r"""Draw samples of x_0 given :math:`y = H x_0 + s_y e`, e standard normal, by twisted SMC.

    The particles of a run are coupled, and so are its samples: some may be equal. Runs are
    independent. Seed, n and ``particles`` fix the result. A `DegeneracyWarning` says where
    fewer than 8 of a run's particles count in the end, and than a quarter of them (``ess[-1]``).

    Arguments:
        field: an affine field of normal noise.
        operator: H, see `diffode.fields.operators`.
        observation: y in the units of the data, shape (\*observed).
        noise: :math:`s_y > 0` in the units of the data.
        n: how many samples.
        particles: P, the number in one run; ceil(n / P) runs give n / P-th of the samples each.
            None is n: one run.
        nfe: evaluations of each particle, the last denoising included; one network call and a
            product with the Jacobian each (``Solution.network_calls``), but for the last.
        steps: the number of steps instead; with neither, 35 evaluations.
        seed: of all draws.
        y: a label for all particles.
        method: of the proposal and the twist, see `conditioned`.
        grid: the kind of time grid; None is the ancestral sampler's.
        batch: particles evaluated at once; None for all.
        progress: called with the number of steps done.

    Raises:
        ValueError: counts or shapes that do not fit, as for `conditioned`, or several
            observations.
        TypeError: noise that is not normal.
    """
    require_affine(field)
    if not is_normal(field.noise):
        raise TypeError(
            f"the noise is {field.noise}; twisted() weighs particles by the densities of normal "
            "steps: take conditioned(), or a field with Normal() noise"
        )
    n, rng = as_count(n, "n", 1), Rng(as_count(seed, "seed"))
    size = n if particles is None else as_count(particles, "particles", 1)
    runs = -(-n // size)
    seen = one_observation(field, operator, observation, noise)
    given = Conditioned(field, seen, method)
    times = times_for(field, Ancestral(), nfe, steps, grid, "denoise")
    labels = field.as_labels(y, runs * size)
    if labels is not None:
        labels = labels.to(field.device)
        if bool((labels != labels[0]).any()):
            raise ValueError(
                "got particles of several labels, which are drawn anew from one another; wanted "
                "one label for all: call twisted() once for each"
            )
    cloud = _Cloud(runs, size, field.device)
    with torch.no_grad():
        x = field.start(runs * size, rng, labels).x
        x, ess = _walk(_Evaluation(given, labels, batch), x, times, cloud, rng, progress)
        x = x[cloud.draw(-(-n // runs), rng.at(len(times)))][:n]
    _warn_of_few(float(ess[-1].min()), size)
    status = torch.zeros(n, dtype=torch.int64, device=x.device)
    return ParticleSolution(
        x=data_units(x, field.scaling),
        times=times,
        nfe=len(times),
        nfe_per_row=torch.full_like(status, len(times)),
        status=with_lost(status, x),
        path=None,
        t_end=float(times[-1]),
        final="denoise",
        network_calls=sum(given.calls_at(t) for t in times[:-1]) + field.calls_at(times[-1]),
        particles=size,
        ess=ess,
        resamplings=cloud.resamplings,
        log_evidence=float(torch.logsumexp(cloud.log_means, 0)) - math.log(runs),
        log_evidences=cloud.log_means,
    )


def degenerate(ess: float, particles: int) -> bool:
    """Whether of so many particles fewer than 8 count, and fewer than a quarter of them."""
    return ess < min(8, particles / 4)


def _warn_of_few(least: float, size: int) -> None:
    if degenerate(least, size):
        warn(
            f"the {size} particles of a run count for {least:.1f} in the end (ess), so that its "
            "samples may be equal or off, and log_evidence too; take a larger noise, more nfe, or "
            "more particles",
            DegeneracyWarning,
        )


class _Cloud:
    """The weights of the particles of independent runs.

    Attributes:
        log_weights: since the particles were drawn last, shape (runs, size).
        log_means: the sum of the logarithms of the mean weights before, shape (runs,).
        resamplings: how often the particles were drawn anew, shape (runs,).
        lost: which runs have no particle of any weight, shape (runs,).
    """

    def __init__(self, runs: int, size: int, device: torch.device) -> None:
        self.size = size
        self.log_weights = torch.zeros(runs, size, dtype=torch.float64, device=device)
        self.log_means = self.log_weights.new_zeros(runs)
        self.resamplings = torch.zeros(runs, dtype=torch.int64, device=device)
        self.lost = self.resamplings.bool()

    def weigh(self, log: Tensor) -> None:
        """Multiply the weights by exp(log), shape (runs * size,); what is not finite is 0."""
        new = self.log_weights + log.double().view_as(self.log_weights)
        new = new.where(new.isfinite(), -math.inf)
        gone = (new == -math.inf).all(1)
        self.lost = self.lost | gone
        self.log_weights = new.where(~gone[:, None], 0.0)

    @property
    def ess(self) -> Tensor:
        """The effective number of particles of each run, shape (runs,)."""
        return 1 / torch.softmax(self.log_weights, 1).square().sum(1)

    def draw(self, count: int, rng: Rng, where: Tensor | None = None) -> Tensor:
        """Indices of particles of each run, drawn by their weights, which are 1 afterwards.

        Systematic: one uniform number u of a run, and the particles at (u + i) / count of the
        cumulated weights.

        Arguments:
            count: of particles of a run.
            rng: where u comes from.
            where: which runs; the others keep theirs, and their weights. None is all.
        """
        runs, size = self.log_weights.shape
        u = rng.uniform("twisted/draw", (runs, 1), self.log_weights.device)
        place = (u + torch.arange(count, device=u.device)) / count
        edges = torch.softmax(self.log_weights, 1).cumsum(1)
        index = torch.searchsorted(edges / edges[:, -1:], place).clamp_max(size - 1)
        drawn = torch.ones_like(self.lost) if where is None else where
        if where is not None:
            index = index.where(where[:, None], torch.arange(size, device=u.device))
            self.resamplings = self.resamplings + where
        mean = torch.logsumexp(self.log_weights, 1) - math.log(size)
        self.log_means = (self.log_means + mean.where(drawn, 0.0)).where(~self.lost, -math.inf)
        self.log_weights = self.log_weights.where(~drawn[:, None], 0.0)
        return (index + size * torch.arange(runs, device=u.device)[:, None]).flatten()


class _Evaluation(NamedTuple):
    """A field with and without the observation, for so many particles at once."""

    given: Conditioned
    labels: Tensor | None
    batch: int | None

    def conditional(self, x: Tensor, t: Tensor) -> Conditional:
        parts = [self.given.conditional(z, t, y) for z, y in self._blocks(x)]
        return Conditional(*(torch.cat(v) for v in zip(*parts, strict=True)))

    def denoised(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.cat([self.given.inner.denoise(z, t, y) for z, y in self._blocks(x)])

    def log_likelihood(self, x0: Tensor) -> Tensor:
        given = self.given
        rest = given.target - given.operator(x0.double())
        return given.gram.log_density(rest, rest.new_zeros(()), given.observation_noise)

    def _blocks(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        for k in slices(len(x), self.batch):
            yield x[k], None if self.labels is None else self.labels[k]


def _walk(
    f: _Evaluation,
    x: Tensor,
    times: Tensor,
    cloud: _Cloud,
    rng: Rng,
    progress: Callable[[int], None] | None,
) -> tuple[Tensor, Tensor]:
    """The particles denoised at the end of their walk, and the effective numbers on the way."""
    history = []
    for k, (t, t_next) in enumerate(pairwise(times.to(x.device))):
        c = f.conditional(x, t)
        cloud.weigh(c.log_fit)
        history.append(cloud.ess)
        low = history[-1] < cloud.size / 2
        if bool(low.any()):
            index = cloud.draw(cloud.size, rng.at(k), low)
            c = Conditional(*(v[index] for v in c))
        x, log_ratio = _step(f.given.schedule, c, t, t_next, rng.at(k))
        cloud.weigh(log_ratio - c.log_fit)
        if progress is not None:
            progress(k + 1)
    x0 = f.denoised(x, times[-1])
    cloud.weigh(f.log_likelihood(x0))
    lost = cloud.lost.repeat_interleave(cloud.size)
    return x0.masked_fill(expand_like(lost, x0).bool(), math.nan), torch.stack(
        [*history, cloud.ess]
    )


def _step(
    schedule: Schedule, c: Conditional, t: Tensor, t_next: Tensor, rng: Rng
) -> tuple[Tensor, Tensor]:
    """An ancestral step given the observation, and log p / q of it, shape (B,)."""
    alpha, sigma, alpha_next, sigma_next = (
        float(v) for s in (t, t_next) for v in (schedule.alpha(s), schedule.sigma(s))
    )
    r = sigma_next * alpha / (sigma * alpha_next)
    std = sigma_next * math.sqrt(1 - r**2)
    shift = (alpha_next - sigma_next * r * alpha / sigma) * c.pull
    z = rng.normal("ddim", c.x0.shape, c.x0.dtype, c.x0.device)  # as without y
    x = alpha_next * c.x0 + sigma_next * r * c.n + shift + std * z
    change = (shift / std).double().flatten(1)
    log_ratio = -(z.double().flatten(1) * change).sum(1) - change.square().sum(1) / 2
    return x, log_ratio
