r"""The stages of an error budget for MonoFlow: a march by trained critics against exact ratios.

At stage k the critics tell the data from the particles through noise of :math:`\sigma_k`. The
exact ratio there is known where the data is a mixture of Gaussians: the log-density of the noised
mixture minus that of the noised cloud of particles, itself a mixture of as many equal components,

.. math:: d_k(x) = \log \sum_j w_j N(x; m_j, s^2 + \sigma_k^2)
          - \log \frac1P \sum_i N(x; x_i^{(k)}, \sigma_k^2).

The exact march moves its own particles by these ratios and records every cloud; fresh points
follow the record, as they follow a bank of critics. Every march starts from the prior's own law:
its prior mismatch is 0 by construction.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from diffode.bench.budget_stages import Plan, Stages
from diffode.bench.twin import exact_law
from diffode.data.toys import Gaussians
from diffode.fields.base import Own, as_time
from diffode.fields.exact import squared_distances
from diffode.fields.mixture import Mixture
from diffode.fields.monoflow import Mobility, MonoFlow
from diffode.fields.schedules import Karras
from diffode.rng import Rng

_NEAR = 1e-6  # of the shortest step: times this close before a stage belong to it
_ROWS = 2**21  # distances held at once


class Clouds(nn.Module):
    """The exact critics of a march, a cloud of particles for each stage.

    Arguments:
        law: the data's, whose time is the noise itself.
        times: the K + 1 edges of the stages.
        sigmas: the noise at each of the first K, shape (K,).
        particles: P.
    """

    smooth = True

    def __init__(self, law: Mixture, times: Tensor, sigmas: Tensor, particles: int) -> None:
        super().__init__()
        self.law, self.event_shape = law, law.event_shape
        self.times, self.sigmas = times, sigmas
        shape = (len(sigmas), particles, law.mean.numel())
        self.register_buffer("clouds", torch.zeros(shape, dtype=torch.float64))

    clouds: Tensor

    def forward(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The log-ratio at x and one time t, shape (B,)."""
        near = _NEAR * self.times.diff().min()
        k = int((as_time(t, x).cpu() + near >= self.times[1:-1]).sum())
        sigma = float(self.sigmas[k])
        _, count, dim = self.clouds.shape
        points = x.flatten(1).double()
        sums = [
            (squared_distances(rows, self.clouds[k]) / (-2 * sigma**2)).logsumexp(1)
            for rows in torch.split(points, max(1, _ROWS // count))
        ]
        log_q = torch.cat(sums) - math.log(count) - dim / 2 * math.log(2 * math.pi * sigma**2)
        return self.law.log_marginal(x.double(), sigma) - log_q


def exact_march(
    field: MonoFlow, law: Gaussians, times: Tensor, particles: int = 1000, seed: int = 0
) -> MonoFlow:
    """A march by exact ratios, recorded for fresh points to follow.

    Arguments:
        field: the march whose h, speed, noise and prior are taken.
        law: the data's.
        times: the edges of the stages, shape (K + 1,).
        particles: of the cloud.
        seed: of their start.

    Raises:
        ValueError: the field's speed is not a `Mobility`, which states the noise.
    """
    if not isinstance(field.rate, Mobility):
        raise ValueError(
            f"got a MonoFlow with rate {field.rate}; the exact ratio is that seen through the "
            "noise of a Mobility"
        )
    times = times.double().cpu()
    sigmas = field.rate.sigma(times[:-1] / field.span[1])
    low, high = float(sigmas.min()), float(sigmas.max())
    path = exact_law(law, Karras(low, high if high > low else 2 * low))
    assert isinstance(path, Mixture)
    critic = Clouds(path, times, sigmas, particles)
    march = MonoFlow(
        critic, field.h, field.prior, field.span[1], field.event_shape, field.rate, check=False
    )
    march.own = Own("euler", tuple(times.tolist()))
    assert field.prior is not None
    shape = (particles, *field.event_shape)
    pool = field.prior.sample(shape, Rng(seed), name="budget/pool", dtype=torch.float64)
    with torch.no_grad():
        for k, step in enumerate(times.diff().tolist()):
            critic.clouds[k] = pool.flatten(1)
            if k + 1 < len(sigmas):
                pool = pool + step * march.velocity(pool, times[k])
    return march


def march_stages(field: MonoFlow, law: Gaussians, plan: Plan) -> Stages:
    """The stages of a march: 0 and 1 agree, the converged march has ``refine`` times its stages.

    Raises:
        ValueError: another solver than euler, or a field without the noise of a `Mobility`.
    """
    if plan.solver.name != "euler":
        raise ValueError(
            f"got the solver {plan.solver.name!r} for a MonoFlow; its exact ratios belong to "
            "Euler steps, one for each stage: leave the solver out, or pass 'euler'"
        )
    trained = plan.sample(field)
    plan.progress(0.1)

    def follow(factor: int, seed: int) -> Tensor:
        march = exact_march(field, law, _finer(trained.times, factor), plan.particles, seed)
        return _followed(march, plan).double()

    own = follow(1, plan.seed)
    plan.progress(0.2)
    fine = follow(plan.refine, plan.seed)
    plan.progress(0.7)
    again = follow(max(1, plan.refine // 2), plan.seed + 1)
    plan.progress(1.0)
    x = trained.x.double()
    real = exact_law(law, Karras()).sample(plan.n, Rng(plan.seed)).double()
    steps = plan.refine * (len(trained.times) - 1)
    return Stages(
        torch.stack((fine, fine, own, x)),
        None,
        [torch.stack((fine, again))],
        real,
        trained.nfe,
        f"{steps} Euler steps by the exact ratios of {plan.particles} particles; checked "
        "against half as many steps with other particles",
    )


def _followed(march: MonoFlow, plan: Plan) -> Tensor:
    from diffode.sampling import sample

    return sample(march, plan.n, plan.solver, seed=plan.seed, batch=plan.batch).x


def _finer(times: Tensor, factor: int) -> Tensor:
    """Each step in ``factor`` equal ones."""
    share = torch.arange(factor, dtype=torch.float64) / factor
    inner = times[:-1, None] + times.diff()[:, None] * share
    return torch.cat((inner.flatten(), times[-1:]))
