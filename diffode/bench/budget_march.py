r"""The stages of an error budget for MonoFlow: a march by trained critics against exact ratios.

At stage k the critics tell the data from the particles through noise of :math:`\sigma_k`. The
exact ratio there is known where the data is a mixture of Gaussians: the log-density of the noised
mixture minus that of the noised cloud of particles, itself a mixture of as many equal components,

.. math:: d_k(x) = \log \sum_j w_j N(x; m_j, s^2 + \sigma_k^2)
          - \log \frac1P \sum_i N(x; x_i^{(k)}, \sigma_k^2),

and its gradient is :math:`(E_p[x_0 | x] - E_q[x_0 | x]) / \sigma_k^2`, the means of data and of
particles given the noised point. The rows of the budget are particles themselves: a point that
the cloud knows nothing of would be driven away from it without end where its neighbours are more
than :math:`\sigma_k` away. Every march starts from the prior's own law: its prior mismatch is 0
by construction.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffode.bench.budget_stages import Plan, Stages
from diffode.bench.twin import exact_law
from diffode.data.toys import Gaussians
from diffode.fields.base import right
from diffode.fields.exact import squared_distances
from diffode.fields.mixture import Mixture
from diffode.fields.monoflow import Mobility, MonoFlow
from diffode.fields.schedules import Karras
from diffode.rng import Rng

_AT_ONCE = 2**21  # distances


def exact_march(field: MonoFlow, law: Gaussians, times: Tensor, x: Tensor) -> Tensor:
    """Where particles end that take Euler steps by the exact ratios of data and themselves.

    Arguments:
        field: the march whose h, speed and noise are taken.
        law: the data's.
        times: of the steps, from 0 to the horizon, shape (K + 1,).
        x: the particles at the start, shape (P, *event).

    Raises:
        ValueError: the field's speed is not a `Mobility`, which states the noise.
    """
    if not isinstance(field.rate, Mobility):
        raise ValueError(
            f"got a MonoFlow with rate {field.rate}; the exact ratio is that seen through the "
            "noise of a Mobility"
        )
    noised = exact_law(law, Karras())
    assert isinstance(noised, Mixture)
    x = x.double()
    for t, step in zip(times[:-1], times.diff(), strict=True):
        sigma = float(field.rate.sigma(t / field.span[1]))
        log_q, from_cloud = _seen(x, sigma)
        d = noised.log_marginal(x, sigma) - log_q
        climb = (noised.denoise(x, sigma) - from_cloud) / sigma**2
        x = x + step * field.rate_at(t) * right(field.h.slope(d), x) * climb
    return x


def _seen(x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """The log-density of the noised particles, and the mean of the particle that a point was."""
    cloud = x.flatten(1)
    logs, means = [], []
    for rows in torch.split(cloud, max(1, _AT_ONCE // len(cloud))):
        logits = squared_distances(rows, cloud) / (-2 * sigma**2)
        logs.append(logits.logsumexp(1))
        means.append(logits.softmax(1) @ cloud)
    norm = math.log(len(cloud)) + cloud.shape[1] / 2 * math.log(2 * math.pi * sigma**2)
    return torch.cat(logs) - norm, torch.cat(means).view_as(x)


def march_stages(field: MonoFlow, law: Gaussians, plan: Plan) -> Stages:
    """The stages of a march: 0 and 1 agree, the converged march has ``refine`` times its steps.

    Raises:
        ValueError: another solver than euler, or a field without the noise of a `Mobility`.
    """
    if plan.solver.name != "euler":
        raise ValueError(
            f"got the solver {plan.solver.name!r} for a MonoFlow; its exact ratios belong to "
            "Euler steps, one for each stage: leave the solver out, or pass 'euler'"
        )
    trained = plan.sample(field)
    start = field.start(plan.n, Rng(plan.seed)).x.double()
    assert field.prior is not None
    shape = (plan.particles, *field.event_shape)
    clouds = [
        torch.cat((start, field.prior.sample(shape, Rng(seed), name="budget", dtype=start.dtype)))
        for seed in (plan.seed, plan.seed + 1)
    ]

    def march(factor: int, cloud: Tensor) -> Tensor:
        return exact_march(field, law, _finer(trained.times, factor), cloud)[: plan.n]

    own, other = (march(1, cloud) for cloud in clouds)
    plan.progress(0.2)
    half = march(plan.refine // 2, clouds[0])
    plan.progress(0.5)
    fine = march(plan.refine, clouds[0])
    plan.progress(1.0)
    real = exact_law(law, Karras()).sample(plan.n, Rng(plan.seed)).double()
    return Stages(
        torch.stack((fine, fine, own, trained.x.double())),
        None,
        {
            "half the steps": torch.stack((fine, half)),
            "other particles": torch.stack((own, other)),
        },
        real,
        trained.nfe,
        f"{plan.refine} steps for each stage by the exact ratios of {len(clouds[0])} particles, "
        "the rows among them",
    )


def _finer(times: Tensor, factor: int) -> Tensor:
    """Each step in ``factor`` equal ones."""
    share = torch.arange(factor, dtype=torch.float64) / factor
    inner = times[:-1, None] + times.diff()[:, None] * share
    return torch.cat((inner.flatten(), times[-1:]))
