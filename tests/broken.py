"""Fields with one planted mistake each, made from the exact field of two moons."""

import functools

import torch

from diffode.data import load
from diffode.fields import (
    VE,
    VP,
    AffineField,
    DiscreteBetas,
    Empirical,
    Field,
    Karras,
    Rectified,
    SamplingDefaults,
)
from diffode.fields.base import expand_like
from diffode.priors import Normal

BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)


@functools.cache
def points():
    return load("moons").train[:150]


def exact(schedule):
    return Empirical(points(), schedule)


class Flow(Field):
    """A user's field: a velocity of the exact field, with a schedule stated."""

    event_shape = (2,)

    def __init__(self, schedule, velocity, span=None):
        super().__init__()
        self.schedule, self.span, self.exact = schedule, span or schedule.span, exact(schedule)
        self.prior = self.exact.prior
        self.rule = velocity

    def velocity(self, x, t, y=None):
        return self.rule(self.exact, x, torch.as_tensor(t, dtype=torch.float64))


class Posterior(AffineField):
    """A user's affine field: conditional means by a rule."""

    def __init__(self, schedule, rule):
        self_exact = exact(schedule)
        super().__init__(schedule, Normal(), *self_exact.moments)
        self.exact, self.rule = self_exact, rule

    def posterior(self, x, t, y=None):
        return self.rule(self.exact, x, torch.as_tensor(t, dtype=torch.float64))


def halves(field, x, t):
    """Alpha, sigma, x_0 and n, to be combined wrongly."""
    alpha, sigma = (expand_like(v, x) for v in field.level(t, x))
    return alpha, sigma, *field.posterior(x, t)


def by_noise(wrong):
    """The conditional means that follow from a wrong noise estimate."""

    def rule(field, x, t):
        alpha, sigma, x0, n = halves(field, x, t)
        n = wrong(alpha, sigma, x0, n)
        return (x - sigma * n) / alpha, n

    return rule


def by_score(wrong):
    """The probability flow f x - g^2 / 2 s of a wrong score s."""

    def rule(field, x, t):
        alpha, sigma, d_alpha, d_sigma = (expand_like(v, x) for v in field.schedule.rates(t))
        drift = d_alpha / alpha
        half_square = sigma * (d_sigma - sigma * drift)
        return drift * x - half_square * wrong(sigma, field.noise_part(x, t))

    return rule


class Scored(Empirical):
    """An exact field with a score of the user's own."""

    def __init__(self, wrong):
        super().__init__(points(), VP())
        self.wrong = wrong

    def score(self, x, t, y=None):
        return self.wrong(expand_like(self.level(t, x)[1], x), self.noise_part(x, t))


class LateGrid(Empirical):
    """An exact field whose own grid starts a step late."""

    def __init__(self):
        super().__init__(points(), Karras())
        times = torch.linspace(80, 0.002, 11, dtype=torch.float64).tolist()
        self.sampling_defaults = SamplingDefaults("heun", (*times[1:], 0.001))


class Chain(AffineField):
    """A field of DDPM's chain that looks its table up one entry too far."""

    def __init__(self, offset=1):
        inner = exact(DiscreteBetas(BETAS))
        super().__init__(inner.schedule, Normal(), *inner.moments)
        self.inner, self.offset = inner, offset

    def posterior(self, x, t, y=None):
        t = torch.as_tensor(t, dtype=torch.float64)
        n = self.inner.noise_part(x, (t + self.offset).clamp(0, 999))
        alpha, sigma = (expand_like(v, x) for v in self.level(t, x))
        return (x - sigma * n) / alpha, n


class Broadcast(Field):
    """Divides by t without the event's axes: no error where B is the event's size."""

    prior, span, event_shape = Normal(scale=80.0), Karras().span, (2,)

    def __init__(self):
        super().__init__()
        self.schedule, self.exact = Karras(), exact(Karras())

    def velocity(self, x, t, y=None):
        return (x - self.exact.denoise(x, t)) / torch.as_tensor(t, dtype=x.dtype)


class OnlyScalar(Broadcast):
    def velocity(self, x, t, y=None):
        return (x - self.exact.denoise(x, t)) / float(t)


class OnlyVector(Broadcast):
    def velocity(self, x, t, y=None):
        return (x - self.exact.denoise(x, t)) / t[:, None].to(x)


class FirstTime(Broadcast):
    def velocity(self, x, t, y=None):
        return self.exact.velocity(x, torch.as_tensor(t).reshape(-1)[0])


class Swapped(VP):
    """VP with the two factors exchanged."""

    def alpha(self, t):
        return super().sigma(t)

    def sigma(self, t):
        return super().alpha(t)

    def rates(self, t):
        alpha, sigma, d_alpha, d_sigma = VP.rates(VP(), t)
        return sigma, alpha, d_sigma, d_alpha


class Narrow(Empirical):
    """An exact field of the Karras kind that starts from unit noise."""

    prior = Normal()


def narrow():
    return Narrow(points(), Karras())


def rates_of(field, t):
    return (r.reshape(-1, 1) for r in field.schedule.rates(t))


def swapped_rates(field, x, t):
    x0, n = field.posterior(x, t)
    _, _, d_alpha, d_sigma = (expand_like(r, x) for r in field.schedule.rates(t))
    return d_sigma * x0 + d_alpha * n


def drift_of_the_sde(field, x, t):
    return 2 * field.velocity(x, t) - by_score(lambda sigma, n: 0 * n)(field, x, t)


# the mistake's name, and a field that has it
BROKEN = {
    "sign": ("sign", lambda: Flow(VP(), lambda f, x, t: -f.velocity(x, t))),
    "sign, rectified": ("sign", lambda: Flow(Rectified(), lambda f, x, t: -f.velocity(x, t))),
    "span reversed": (
        "reversed time",
        lambda: Flow(VP(), lambda f, x, t: f.velocity(x, t), (1e-3, 1.0)),
    ),
    "1 - t": (
        "reversed time",
        lambda: Flow(Rectified(), lambda f, x, t: f.velocity(x, (1 - t).clamp_min(1e-3))),
    ),
    "reversed network": (
        "reversed time",
        lambda: Posterior(VP(), lambda f, x, t: f.posterior(x, 1.001 - t)),
    ),
    "other clock": ("other clock", lambda: Flow(VP(), lambda f, x, t: -f.velocity(x, 1.001 - t))),
    "missing 1/sigma": (
        "missing 1/sigma",
        lambda: Flow(VP(), by_score(lambda sigma, n: -n)),
    ),
    "missing 1/t": (
        "missing 1/sigma",
        lambda: Flow(Karras(), lambda f, x, t: x - f.denoise(x, t)),
    ),
    "B = N": ("wrong t shape", Broadcast),
    "only ()": ("wrong t shape", OnlyScalar),
    "only (B,)": ("wrong t shape", OnlyVector),
    "first row": ("wrong t shape", FirstTime),
    "float16": (
        "float16 time",
        lambda: Flow(VP(), lambda f, x, t: f.velocity(x, t.half().double())),
    ),
    "float16 in the network": (
        "float16 time",
        lambda: Posterior(
            VE(),
            lambda f, x, t: by_noise(lambda a, s, x0, n: f.noise_part(x, t.half()))(f, x, t),
        ),
    ),
    "bfloat16": (
        "bfloat16 time",
        lambda: Flow(
            DiscreteBetas(BETAS),
            lambda f, x, t: f.velocity(x, t.bfloat16().double().clamp(0, 999)),
        ),
    ),
    "eps as score": ("eps as score", lambda: Flow(VP(), by_score(lambda sigma, n: n))),
    "score returns eps": ("eps as score", lambda: Scored(lambda sigma, n: n)),
    "score as eps": (
        "score as eps",
        lambda: Posterior(VP(), by_noise(lambda a, s, x0, n: -n / s)),
    ),
    "score's minus": ("missing minus", lambda: Scored(lambda sigma, n: n / sigma)),
    "minus in the flow": ("missing minus", lambda: Flow(VP(), by_score(lambda s, n: n / s))),
    "score's 1/sigma": ("missing 1/sigma", lambda: Scored(lambda sigma, n: -n)),
    "swapped rates": ("swapped alpha and sigma", lambda: Flow(VP(), swapped_rates)),
    "swapped levels": (
        "swapped alpha and sigma",
        lambda: Posterior(VP(), lambda f, x, t: exact(Swapped()).posterior(x, t)),
    ),
    "swapped conversion": (
        "swapped alpha and sigma",
        lambda: Posterior(
            VP(),
            lambda f, x, t: (lambda a, s, x0, n: ((x - a * n) / s, n))(*halves(f, x, t)),
        ),
    ),
    "off by one": ("off-by-one grid", Chain),
    "off by one, early": ("off-by-one grid", lambda: Chain(-1)),
    "late grid": ("off-by-one grid", LateGrid),
    "shifted by a step": (
        "off-by-one grid",
        lambda: Flow(VP(), lambda f, x, t: f.velocity(x, (t - 1e-3).clamp_min(1e-3))),
    ),
    "x0 as noise": ("x0 as noise", lambda: Posterior(VP(), by_noise(lambda a, s, x0, n: x0))),
    "v as noise": (
        "v-prediction as noise",
        lambda: Posterior(VP(), by_noise(lambda a, s, x0, n: a * n - s * x0)),
    ),
    "v as velocity": (
        "v-prediction as velocity",
        lambda: Flow(VP(), lambda f, x, t: (lambda a, s, x0, n: a * n - s * x0)(*halves(f, x, t))),
    ),
    "straight velocity": (
        "straight velocity",
        lambda: Flow(VP(), lambda f, x, t: f.noise_part(x, t) - f.denoise(x, t)),
    ),
    "missing 1/2": ("missing 1/2", lambda: Flow(VP(), drift_of_the_sde)),
    "missing drift": (
        "missing drift",
        lambda: Flow(
            VP(),
            lambda f, x, t: f.velocity(x, t) - by_score(lambda s, n: 0 * n)(f, x, t),
        ),
    ),
    "data in [0, 1]": ("data scale", lambda: Empirical((points() + 1) / 2, VP())),
    "unit prior": ("prior scale", narrow),
    "factor": ("constant factor", lambda: Flow(VP(), lambda f, x, t: 0.7 * f.velocity(x, t))),
    "square clock": (
        "speed",
        lambda: Flow(VP(), lambda f, x, t: expand_like(t, x) * f.velocity(x, t)),
    ),
}
