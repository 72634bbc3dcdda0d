"""Fields of another kernel or schedule than they state get the name of that, by exact fields."""

import pytest
import torch

import diffode
from diffode.fields import VP, AffineField, Cosine, Empirical, Field, Karras, Mixture, SubVP
from diffode.priors import Normal, Spherical, StudentT
from diffode.testing import diagnose

SCHEDULE = Karras()


def four():
    """Points of four modes with the weights .5, .25, .15 and .1."""
    weights = torch.tensor([0.5, 0.25, 0.15, 0.1])
    means = torch.tensor([[-2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    law = Mixture(weights, means, torch.full((4,), 0.2), SCHEDULE)
    return law.sample(150, diffode.Rng(0)).double()


class Power(Spherical):
    """The kernel (|u|^2 + width)^(-power / 2)."""

    def __init__(self, power, width):
        super().__init__()
        self.power, self.width = power, width

    def log_radial(self, r2, dim):
        return -self.power / 2 * (r2 + self.width).log()


class Stated(AffineField):
    """An exact field that says it is on another path, or of other noise."""

    def __init__(self, inner, schedule, noise=None):
        super().__init__(schedule, noise or Normal(), *inner.moments)
        self.inner = inner

    def posterior(self, x, t, y=None):
        return self.inner.posterior(x, t, y)


def of_kernel(law, dof, schedule=SCHEDULE):
    return Stated(Empirical(four(), schedule, law), schedule, StudentT(dof) if dof else None)


class Read(Field):
    """The velocity of one schedule, with another stated."""

    event_shape, prior = (2,), Normal()

    def __init__(self, made, schedule):
        super().__init__()
        self.inner, self.schedule, self.span = Empirical(four(), made), schedule, schedule.span

    def velocity(self, x, t, y=None):
        return self.inner.velocity(x, t)


N = 2
CASES = {
    "Gaussian for D = 1": ("Gaussian kernel", lambda: of_kernel(Normal(), 1.0)),
    "Gaussian for D = 128": ("Gaussian kernel", lambda: of_kernel(Normal(), 128.0)),
    "exponent N for N + 1": ("kernel exponent", lambda: of_kernel(Power(N, 1.0), 1.0)),
    "of the potential": ("kernel exponent", lambda: of_kernel(Power(N + 6.0, 8.0), 8.0)),
    "D = 4 at r = sigma": ("kernel radius", lambda: of_kernel(Power(N + 4.0, 1.0), 4.0)),
    "D = 64 for 128": ("kernel D", lambda: of_kernel(StudentT(64.0), 128.0)),
    "Poisson for Gaussian": ("Poisson kernel", lambda: of_kernel(StudentT(1.0), None)),
    "sub-VP as VP": ("sub-VP as VP", lambda: Stated(Empirical(four(), SubVP()), VP())),
    "sub-VP's velocity": ("sub-VP as VP", lambda: Read(SubVP(), VP())),
    "VP as sub-VP": ("VP as sub-VP", lambda: Stated(Empirical(four(), VP()), SubVP())),
    "cosine as VP": ("other schedule", lambda: Read(Cosine(), VP())),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_kernel_or_schedule_gets_its_name(case):
    name, make = CASES[case]
    report = diagnose(make(), four())
    assert not report.ok and report.mistakes[0] == name, str(report)
    first = report.failures()[0]
    assert first.check == "velocity" and first.evidence and first.advice


@pytest.mark.parametrize("dof", [1.0, 4.0, 128.0])
def test_the_right_kernel_gets_none(dof):
    report = diagnose(of_kernel(StudentT(dof), dof), four())
    assert report.ok and not report.mistakes
    (found,) = (f for f in report.findings if f.check == "velocity")
    assert found.message == "the velocity is the exact one"


def test_a_network_that_is_nearer_to_another_kernel_gets_no_verdict_and_the_name():
    class Net(Stated):
        def __init__(self, inner, dof):
            super().__init__(inner, SCHEDULE, StudentT(dof))
            self.ripple = torch.nn.Parameter(torch.tensor(0.1))

        def posterior(self, x, t, y=None):
            n = super().posterior(x, t)[1]
            n = n * (1 + self.ripple.to(x) * torch.sin(5 * x))
            return x - torch.as_tensor(t).to(x) * n, n

    def velocity(kernel):
        report = diagnose(Net(Empirical(four(), SCHEDULE, kernel), 1.0), four())
        return next(f for f in report.findings if f.check == "velocity")

    found = velocity(Normal())
    assert found.ok is None and "a Gaussian kernel stands in" in found.evidence
    assert velocity(StudentT(1.0)).ok
