"""Guidance by exact classifiers: at weight 1 the field without labels is that of the class."""

import pytest
import torch

from diffode import log_prob, sample
from diffode.fields import (
    VP,
    Cosine,
    Empirical,
    ExactClassifier,
    Karras,
    Mixture,
    PoissonField,
    Rectified,
    classifier_free,
    classifier_guided,
    conditioned,
    rescheduled,
)
from diffode.fields.operators import mask
from diffode.priors import Normal, StudentT
from diffode.solvers import get_solver
from diffode.testing import CHECKS, check_field
from tests.clouds import cloud, exact, noisy, p_value
from tests.quick import quick
from tests.wrappers import FLOWS, Told

LEVELS = (0.05, 0.3, 1.0, 3.0, 20.0, 100.0)


def miss(guided, field, x, t, y):
    """The error of a guided field, as a share of what the label changes."""
    expected = field.denoise(x, t, y)
    change = (expected - field.denoise(x, t)).norm(dim=1).mean()
    return float((guided.denoise(x, t, y) - expected).norm(dim=1).mean() / change)


@pytest.mark.parametrize("schedule", [VP(), Karras(0.05, 100.0), Rectified(), Cosine()], ids=repr)
def test_normal_noise(schedule):
    """On every schedule by one classifier, of another one's field."""
    field = exact(schedule)
    guided = classifier_guided(field, ExactClassifier(exact()))
    for level in LEVELS:
        t = schedule.time(torch.tensor(level, dtype=torch.float64))
        x, y = noisy(field, t)
        assert miss(guided, field, x, t, y) < 1e-9
        torch.testing.assert_close(
            guided.velocity(x, t, y), field.velocity(x, t, y), rtol=1e-9, atol=1e-9
        )
        torch.testing.assert_close(
            guided.score(x, t, y), field.score(x, t, y), rtol=1e-9, atol=1e-9
        )


def test_mixtures_under_normal_noise():
    means, stds = (
        torch.randn(4, 3, generator=torch.Generator().manual_seed(5)).double(),
        torch.ones(4),
    )
    law = Mixture(torch.arange(1.0, 5.0), means, stds / 3, VP(), labels=torch.tensor([0, 1, 1, 2]))
    guided = classifier_guided(law, ExactClassifier(law))
    for t in (0.05, 0.3, 1.0):
        x, y = noisy(law, t)
        assert miss(guided, law, x, t, y) < 1e-9


CASES = [(dof, dim) for dof in (1.0, 3.0, 128.0) for dim in (2, 16, 64)]


@pytest.mark.parametrize(("dof", "dim"), CASES)
def test_student_t_noise(dof, dim):
    field = exact(noise=StudentT(dof), dim=dim)
    guided = classifier_guided(field, ExactClassifier(field))
    for level in LEVELS:
        x, y = noisy(field, level)
        assert miss(guided, field, x, level, y) < 1e-8


def test_many_degrees_of_freedom_are_normal_noise():
    guided = classifier_guided(
        exact(noise=StudentT(1e6)), ExactClassifier(exact(noise=StudentT(1e6)))
    )
    for level in LEVELS:
        x, y = noisy(exact(), level)
        assert miss(guided, exact(), x, level, y) < 1e-5


@pytest.mark.parametrize("noise", [Normal(), StudentT(1.0), StudentT(8.0)], ids=repr)
@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0, 4.0])
def test_the_weight_means_what_it_means_without_a_classifier(noise, weight):
    field = exact(noise=noise)
    by = classifier_guided(field, ExactClassifier(field), weight)
    free = classifier_free(field, weight)
    for level in LEVELS:
        x, y = noisy(field, level)
        expected = free.posterior(x, level, y)
        for got, wanted in zip(by.posterior(x, level, y), expected, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-7, atol=1e-7)


def test_the_potential_is_one_of_the_flow():
    """x - E[x_0 | x] is the mean squared scale times the slope of -log Phi, at any alpha."""
    for schedule, noise in ((VP(), None), (Rectified(), StudentT(3.0))):
        field = exact(schedule, noise)
        for t in (0.2, 0.6, 0.9):
            x, y = noisy(field, t)
            x.requires_grad_()
            log = field.log_potential(x, t, y)
            (slope,) = torch.autograd.grad(log.sum(), x)
            square = (log - field.log_marginal(x, t, y)).exp().detach()
            x = x.detach()
            alpha = field.level(t, x)[0]
            torch.testing.assert_close(
                x + square[:, None] * slope, alpha * field.denoise(x, t, y), rtol=1e-9, atol=1e-9
            )


def test_a_network_is_not_asked_for_labels_and_calls_are_counted():
    x, _ = cloud(3)
    plain = Empirical(x, Karras(0.05, 100.0))  # refuses labels
    classifier = ExactClassifier(exact())
    guided = classifier_guided(plain, classifier, 2.0, (0.2, 2.0))
    assert [guided.calls_at(torch.tensor(t)) for t in (0.1, 0.2, 1.0, 2.0, 5.0)] == [1, 2, 2, 2, 1]
    y = torch.tensor([0, 1, 2, 0])
    drawn = sample(guided, 4, "heun", steps=10, y=y)
    assert drawn.nfe < drawn.network_calls < 2 * drawn.nfe
    whole = sample(classifier_guided(plain, classifier, 2.0), 4, "heun", steps=10, y=y)
    assert whole.network_calls == 2 * whole.nfe
    off = sample(classifier_guided(plain, classifier, 0.0), 4, steps=6, y=y)
    assert torch.equal(off.x, sample(plain, 4, steps=6).x) and off.network_calls == off.nfe
    untold = classifier_guided(plain, classifier, 0.0, (0.2, 2.0))
    assert untold.unconditional and torch.equal(sample(untold, 4, steps=6).x, off.x)


def test_rows_at_levels_of_their_own_are_each_their_own():
    field = exact(noise=StudentT(3.0))
    guided = classifier_guided(field, ExactClassifier(field), 2.0, (0.2, 2.0))
    t, (x, y) = torch.tensor([0.1, 1.0, 0.5, 9.0]).double(), noisy(field, 1.0, 4)
    whole = guided.denoise(x, t, y)
    for i in range(4):
        torch.testing.assert_close(
            guided.denoise(x[i : i + 1], t[i], y[i : i + 1]), whole[i : i + 1]
        )
    assert torch.equal(whole[0], field.denoise(x, t)[0])


def test_guidance_is_off_where_no_signal_is_left():
    field = exact(Rectified())
    guided = classifier_guided(field, ExactClassifier(field))
    x, y = noisy(field, 1.0)
    assert torch.equal(guided.velocity(x, 1.0, y), field.velocity(x, 1.0))
    assert guided.calls_at(torch.tensor(1.0, dtype=torch.float64)) == 1


INNER = {
    "normal": exact(VP()),
    "student": exact(Karras(0.05, 20.0), StudentT(4.0)),
    "hemisphere": PoissonField(exact(Karras(0.05, 20.0), StudentT(4.0))),
}


def guided_by_exact(kind, weight=1.0):
    field = INNER[kind]
    law = field.inner if kind == "hemisphere" else field
    return classifier_guided(field, ExactClassifier(law), weight)


@pytest.mark.filterwarnings("ignore:Functional iteration did not converge")
@pytest.mark.parametrize("name", quick(FLOWS, *range(0, len(FLOWS), 4)))
@pytest.mark.parametrize("kind", ["normal", "hemisphere"])
def test_every_solver_draws_the_class_or_refuses(kind, name):
    solver, y = get_solver(name), torch.tensor([0, 2, 1, 0])
    if solver.adaptive:
        solver = get_solver(name, rtol=0.03, atol=0.03)

    def drawn(field):
        try:
            return sample(field, 4, solver, steps=6, y=y).x
        except (TypeError, ValueError) as error:
            return str(error)

    got, expected = drawn(guided_by_exact(kind)), drawn(INNER[kind])
    if isinstance(expected, str):
        assert got == expected
    else:
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("trace", ["exact", "hutchinson"])
@pytest.mark.parametrize("kind", ["normal", "student"])
def test_the_likelihood_is_the_class_s(kind, trace):
    x, y = cloud(3, each=2)
    nats = [
        log_prob(field, x, trace, solver="rk4", steps=6, y=y, probes=2).nats
        for field in (guided_by_exact(kind), INNER[kind])
    ]
    torch.testing.assert_close(*nats, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", INNER)
def test_it_keeps_the_contract(kind):
    field = guided_by_exact(kind, 2.0)
    assert len(check_field(Told(field, 1))) == len(CHECKS)
    assert "guidance 2 by ExactClassifier" in repr(field)
    moved = rescheduled(field, "theta") if kind != "hemisphere" else field
    assert sample(moved, 3, steps=4, y=torch.tensor([0, 1, 2])).x.isfinite().all()


def test_samples_of_a_guided_poisson_flow_are_the_class_s():
    """A permutation test of the energy distance, of hemisphere starts against the class."""
    x, y = cloud(2, each=60)
    field = Empirical(x, Karras(0.02, 40.0), StudentT(1.0), labels=y)
    guided = PoissonField(classifier_guided(field, ExactClassifier(field)))
    for label in (0, 2):
        drawn = sample(guided, 60, nfe=40, y=label, seed=3).x.double()
        assert p_value(drawn, x[y == label]) > 0.05
        assert p_value(drawn, x[y == 1]) < 0.01


def test_a_classifier_that_answers_for_other_classes_than_it_states_is_refused():
    class Few(torch.nn.Module):
        classes = 5

        def forward(self, u, rho):
            return u[:, :2]

    guided = classifier_guided(exact(), Few())
    with pytest.raises(ValueError, match=r"logits of 2 classes and states 5"):
        sample(guided, 3, nfe=4, y=3)


class Steep(torch.nn.Module):
    """The exact classifier, with a slope that is wrong everywhere."""

    def __init__(self, law, slope):
        super().__init__()
        self.exact, self.slope = ExactClassifier(law), slope

    def forward(self, u, rho):
        logits, log_squares = self.exact(u, rho)
        return logits + self.slope * u[:, :1] * torch.arange(logits.shape[1]), log_squares


@pytest.mark.parametrize("slope", [1.0, 30.0])
@pytest.mark.parametrize("dof", [1.0, 8.0])
def test_a_wrong_slope_leads_no_further_than_the_points_of_the_class(dof, slope):
    """Were it followed, 6 to 60,000 times as far: samples ended far out, or were no numbers."""
    points, labels = cloud(2, each=20)
    field = Empirical(points, Karras(0.02, 40.0), StudentT(dof), labels=labels)
    guided = classifier_guided(field, Steep(field, slope))
    for level in (0.05, 0.3, 1.0, 3.0, 20.0):
        x, y = noisy(field, level)
        far = (torch.cdist(x, points) * (labels == y[:, None])).amax(1)
        most = torch.maximum(far, (x - field.denoise(x, level)).norm(dim=1))
        assert bool(((x - guided.denoise(x, level, y)).norm(dim=1) <= 1.001 * most).all())
    around = PoissonField(guided)
    assert bool(sample(around, 8, nfe=12, y=1, seed=3).x.isfinite().all())


def test_a_class_that_is_nearly_sure_is_led_nowhere_by_a_wrong_slope():
    """Three off its points, a thousand off the others; a wave hardly changes P, but its slope."""
    points, labels = cloud(2, each=20)
    points = points + 1000 * torch.eye(3, 2).double()[labels]
    field = Empirical(points, Karras(0.02, 40.0), StudentT(1.0), labels=labels)
    law = ExactClassifier(field)

    class Wavy(torch.nn.Module):
        def forward(self, u, rho):
            logits, log_squares = law(u, rho)
            return logits + 0.03 * torch.sin(1000 * u[:, :1]) * torch.arange(3), log_squares

    x, y = points[:5] + 3, labels[:5]
    gap = classifier_guided(field, Wavy()).denoise(x, 0.1, y) - field.denoise(x, 0.1, y)
    assert float(gap.norm(dim=1).max()) < 0.02


def test_a_classifier_of_unstated_classes_is_asked_in_its_own_precision():
    class Unstated(torch.nn.Linear):
        def forward(self, u, rho):
            return super().forward(u)

    guided = classifier_guided(exact(), Unstated(3, 2))  # in single precision
    assert guided.mean.dtype == torch.float64 and guided.classes == 2
    assert sample(guided, 3, nfe=4, y=1).x.isfinite().all()


def test_a_label_that_a_classifier_of_unstated_classes_does_not_know_is_refused():
    class Unstated(torch.nn.Module):
        def forward(self, u, rho):
            return u[:, :2]

    guided = classifier_guided(exact(), Unstated())
    seen = conditioned(guided, mask(torch.tensor([True, False, False])), torch.zeros(1), 0.1)
    assert guided.classes == 2
    for field in (guided, seen):  # the second differentiates the first
        with pytest.raises(ValueError, match=r"got labels from 3 to 3; use 0 to 1"):
            sample(field, 3, nfe=4, y=3)
