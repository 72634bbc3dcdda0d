"""The stochastic samplers under test, Gaussian data, and the exact law of a sampler's results.

On Gaussian data a sampler is linear, so the law of its result follows exactly from its responses
to unit draws (`tests.draws.Impulses`), with no sampling error.
"""

import torch

from diffode.explore import tables
from diffode.fields import AffineField, DiscreteBetas, Karras, Mixture
from diffode.fields.base import expand_like
from diffode.priors import Normal
from diffode.rng import Rng
from diffode.solvers.churn import Churn
from diffode.solvers.sde import EulerMaruyama, PredictorCorrector
from diffode.solvers.sde_trig import TrigSDE
from diffode.solvers.stochastic import Ancestral, SDEDPMpp
from tests.draws import Impulses, Quick


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


SCHEDULES = {**tables.SCHEDULES, "betas": DiscreteBetas(torch.linspace(1e-4, 0.02, 1000))}
SAMPLERS = {
    "ancestral": Ancestral(),
    "euler-maruyama": EulerMaruyama(),
    "pc": PredictorCorrector(),
    "churn": Churn(),
    "sde-dpm++": SDEDPMpp(),
    "sde-trig": TrigSDE(),
}
ALONG_A_PATH = ["euler-maruyama", "sde-dpm++", "sde-trig"]
MEAN, STD = tensor(0.3, -0.5), tensor(0.3, 0.8)


class Gaussian(AffineField):
    """The exact field of N(m, diag(s^2)), coordinate by coordinate; label 1 is the mean -m."""

    def __init__(self, schedule, noise=None, mean=MEAN, std=STD):
        super().__init__(schedule, noise or Normal(), mean, float(std.square().mean().sqrt()))
        self.std, self.asked = std, 0

    def posterior(self, x, t, y=None):
        self.asked += 1
        alpha, sigma = (expand_like(v, x) for v in self.level(t, x))
        m, s = self.mean.to(x), self.std.to(x)
        if y is not None:
            m = m * (1 - 2 * y[:, None]).to(x)
        pull = (x - alpha * m) / (alpha**2 * s**2 + sigma**2)
        return m + alpha * s**2 * pull, sigma * pull


def law(solver, field, times):
    """Mean and variance of each coordinate of the result, started from the law of x_t."""
    draws = 40 + len(times) * (13 if solver.name in (*ALONG_A_PATH, "pc") else 1)
    x = torch.zeros(draws, 2, dtype=torch.float64)
    x[1] = 1
    end = solver(field, x, times, rng=Impulses(first=2)).x
    response = end - end[0]
    alpha, sigma = field.level(times[0], x)
    variance = alpha**2 * field.std**2 + sigma**2
    mean = end[0] + response[1] * alpha * field.mean
    return mean, response[1] ** 2 * variance + response[2:].square().sum(0)


def errors(solver, field, times):
    """The mean's error and the variance's, relative to the exact law of the last time."""
    mean, variance = law(solver, field, times)
    alpha, sigma = field.level(times[-1], mean)
    exact = alpha**2 * field.std**2 + sigma**2
    return (mean - alpha * field.mean) / exact.sqrt(), variance / exact - 1


def between(schedule, steps, first=4.0, last=0.3):
    """Times of equal ratio of rho."""
    ends = tensor(first, last).log10().tolist()
    return schedule.time(torch.logspace(*ends, steps + 1, dtype=torch.float64))


def clusters(schedule):
    """Two components, as smooth as they are apart."""
    means = tensor(1.0, 0.0, -1.0, 1.0).view(2, 2)
    return Mixture(tensor(0.6, 0.4), means, tensor(0.6, 0.6), schedule)


def ends(solver, steps, schedule=None):
    """Where 32 points at rho = 4 go along one Brownian path, in units of alpha."""
    schedule = schedule or Karras()
    times = between(schedule, steps)
    x = 4 * Rng(5).normal("x", (32, 2), torch.float64) * schedule.alpha(times[0])
    end = solver(clusters(schedule), x, times, rng=Quick(6)).x
    return end / schedule.alpha(times[-1])
