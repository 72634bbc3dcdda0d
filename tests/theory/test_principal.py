"""The standard deviation along the data's main axes, and what the default solver makes of it."""

import math

import pytest
import torch

from diffode import Rng, build
from diffode.data.principal import principal_std
from diffode.data.stats import Stats, data_stats
from diffode.fields import (
    VP,
    Empirical,
    Karras,
    Mixture,
    PoissonField,
    Rectified,
    classifier_free,
    rescheduled,
)
from diffode.priors import StudentT
from diffode.solvers import get_solver, grid


def draws(variances, n=1000, seed=0):
    """Normal draws with these variances, on axes that are no coordinates."""
    g = torch.Generator().manual_seed(seed)
    size = len(variances)
    turn = torch.linalg.qr(torch.randn(size, size, generator=g, dtype=torch.float64))[0]
    z = torch.randn(n, size, generator=g, dtype=torch.float64)
    return 3 + (z * torch.tensor(variances).double().sqrt()) @ turn


def wanted(variances):
    """The variances weighted with themselves."""
    return math.sqrt(sum(v * v for v in variances) / sum(variances))


@pytest.mark.parametrize(
    "variances", [[1.0] * 40, [100.0] + [0.1] * 39, [float(k + 1) for k in range(40)]]
)
def test_it_is_the_variances_weighted_with_themselves(variances):
    x = draws(variances)
    stats = data_stats(x)
    assert stats.measured is None
    assert stats.principal_std == pytest.approx(wanted(variances), rel=0.1)
    estimated = principal_std(x, stats.mean, stats.std)
    assert estimated == pytest.approx(stats.principal_std, rel=0.1)


def test_it_lies_between_all_axes_alike_and_one_that_has_all():
    line = torch.linspace(-1, 1, 50)[:, None] * torch.ones(50, 9)
    stats = data_stats(line)
    assert stats.principal_std == pytest.approx(3 * stats.std, rel=1e-6)
    assert principal_std(line, stats.mean, stats.std) <= 3 * stats.std
    apart = torch.eye(4).double() - 0.25
    assert principal_std(apart, torch.zeros(4), 0.4) == 0.4


def test_images_beyond_a_basis_have_it_measured_and_stored():
    """Three channels that are one: the cosines of each alone would miss a factor of root 3."""
    g = torch.Generator().manual_seed(0)
    grey = torch.randn(300, 1, 1, 1, generator=g) + 0.1 * torch.randn(300, 1, 20, 20, generator=g)
    x = grey.expand(300, 3, 20, 20).contiguous()
    stats = data_stats(x)
    assert stats.basis is None and stats.measured is not None
    assert stats.principal_std == pytest.approx(math.sqrt(1200) * stats.std, rel=0.1)
    assert Stats.from_tensors(stats.tensors()).principal_std == stats.principal_std
    old = {k: v for k, v in stats.tensors().items() if k != "principal_std"}
    alone = Stats.from_tensors(old).principal_std
    assert stats.principal_std == pytest.approx(math.sqrt(3) * alone, rel=0.1)


def test_exact_fields_know_it_of_their_law():
    x = draws([9.0, 1.0, 1.0, 0.5])
    covariance = torch.cov(x.T)
    law = Mixture(torch.ones(1).double(), x.mean(0)[None], covariance[None], Karras())
    points = Empirical(x, Karras())
    for field in (law, points):
        assert field.principal_std == pytest.approx(data_stats(x).principal_std, rel=0.05)
    plane = PoissonField(Empirical(x, Karras(), StudentT(64.0)))
    for wrapper in (plane, rescheduled(points, "theta"), plane.start(3, Rng(0)).field):
        assert wrapper.principal_std == pytest.approx(points.principal_std, rel=1e-6)


def test_a_trained_field_has_that_of_its_data():
    x = draws([4.0, 1.0, 0.1]).float()
    stats = data_stats(x)
    field = build("edm", (3,), 2, stats, width=8, depth=1).field
    assert field.principal_std == stats.principal_std
    assert classifier_free(field, 3.0).principal_std == stats.principal_std


@pytest.mark.parametrize("noise", [None, StudentT(1.0), StudentT(64.0)], ids=str)
def test_data_ten_times_as_large_move_the_same_way(noise):
    """Of points, noise levels and starts ten times as large the ends are ten times as large."""
    g = torch.Generator().manual_seed(1)
    means = torch.randn(5, 6, generator=g, dtype=torch.float64)
    ends = []
    for by in (0.1, 1.0):
        law = Mixture(
            torch.ones(5).double(),
            by * means,
            torch.full((5,), 0.2 * by).double(),
            Karras(0.002 * by, 80 * by),
            noise,
        )
        x = by * torch.randn(20, 6, generator=torch.Generator().manual_seed(2)).double() * 80
        times = grid(law, 12, "mixed")
        ends.append((times / by, get_solver()(law, x, times).x / by))
    torch.testing.assert_close(ends[0][0], ends[1][0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(ends[0][1], ends[1][1], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("schedule", [Karras(), VP(), Rectified()], ids=repr)
def test_many_coordinates_with_few_components_need_it(schedule):
    """Where a flow decides for a component, rho is near the distance along their axes."""
    g = torch.Generator().manual_seed(3)
    means = torch.randn(12, 128, generator=g, dtype=torch.float64)
    law = Mixture(torch.ones(12).double(), means, torch.full((12,), 0.25).double(), schedule, None)
    x = law.prior.sample((128, 128), Rng(1), dtype=torch.float64)
    fine = get_solver("ab", form="trig", variable="fraction", order=3)
    end = fine(law, x, grid(law, 300, "mixed")).x
    errors = []
    for solver, times in [
        (get_solver(), grid(law, 15, "mixed")),
        (
            get_solver("ab", form="trig", variable="fraction", order=4, corrected=True),
            grid(law, 15, "f1.5"),
        ),
    ]:
        errors.append((solver(law, x, times).x - end).square().mean(1).sqrt())
    assert law.principal_std > 3 * law.moments[1]
    assert errors[0].median() < 0.6 * errors[1].median()
    assert (errors[0] > 0.5).sum() <= (errors[1] > 0.5).sum()


@pytest.mark.parametrize(
    "change",
    [
        {"spectrum": -torch.ones(2)},
        {"spectrum": torch.zeros(2)},
        {"std": torch.tensor(0.0)},
        {"count": torch.tensor(-1.0)},
        {"mean": torch.tensor([0.0, torch.nan])},
    ],
)
def test_statistics_that_no_data_have_are_refused(change):
    named = data_stats(draws([2.0, 1.0])).tensors()
    with pytest.raises(ValueError, match="the statistics of the data are damaged"):
        Stats.from_tensors(named | change)
