"""The way between two latents, and between the points that they lead to."""

import math

import pytest
import torch

from diffode.fields import Karras, Mixture, PoissonField, Rectified
from diffode.fields.base import Field, Latent
from diffode.fields.generated import Generated
from diffode.fields.guidance import classifier_free
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.sampling import interpolate, random_pairs, round_trip, sample, time_at
from diffode.sampling.interpolation import between

WEIGHTS, STDS = torch.full((3,), 1 / 3), torch.full((3,), 0.3)
MEANS = torch.tensor([[-2.0, 1.0], [2.0, 1.0], [0.5, -2.0]])
LABELS = torch.tensor([0, 1, 1])


def mixture(schedule=None, noise=None):
    return Mixture(WEIGHTS, MEANS, STDS, schedule or Karras(), noise, LABELS)


def poisson(dof=1.0):
    return PoissonField(mixture(noise=StudentT(dof)))


def draws(prior, dim, seed=0):
    x = prior.sample((8, dim), Rng(seed), dtype=torch.float64)
    return Latent(x[:4]), Latent(x[4:])


@pytest.mark.parametrize("dim", [2, 64])
def test_latents_of_a_normal_prior_turn_about_its_mean(dim):
    prior = Normal(scale=3.0, loc=torch.arange(dim).double())
    a, b = draws(prior, dim)
    way = (between(prior, a, b, 5).x - prior.loc).view(4, 5, dim)
    length = way.norm(dim=2)
    torch.testing.assert_close(length.diff(dim=1), length.diff(dim=1)[:, :1].expand(4, 4))
    unit = way / length[..., None]
    turns = (unit[:, 1:] * unit[:, :-1]).sum(2).acos()  # four equal turns, that make up the whole
    torch.testing.assert_close(turns.sum(1), (unit[:, 0] * unit[:, -1]).sum(1).acos())
    torch.testing.assert_close(turns, turns[:, :1].expand(4, 4))


def test_the_middle_is_as_long_as_a_draw_where_a_straight_line_is_not():
    prior, dim = Normal(), 400
    a, b = draws(prior, dim)
    middle = between(prior, a, b, 3).x[1::3].norm(dim=1)
    straight = ((a.x + b.x) / 2).norm(dim=1)
    assert middle.min() > 0.9 * math.sqrt(dim) > 1.1 * straight.max()


def test_ends_are_the_latents_themselves():
    for prior in (Normal(), StudentT(1.0, scale=80.0)):
        a, b = draws(prior, 3)
        way = between(prior, a, b, 4).x.view(4, 4, 3)
        assert torch.equal(way[:, 0], a.x) and torch.equal(way[:, -1], b.x)


@pytest.mark.parametrize("dof", [1.0, 128.0])
def test_pairs_of_a_poisson_flow_stay_on_the_hemisphere(dof):
    field = poisson(dof)
    a, b = random_pairs(field, 5, seed=2)
    way = between(field.prior, a, b, 7)
    mean, sigma = field.moments[0], field.span[0]
    far = torch.hypot((way.x - mean).norm(dim=1), sigma * way.q).view(5, 7).double()
    torch.testing.assert_close(far, far[:, :1].expand(5, 7), rtol=1e-5, atol=0)  # one radius
    assert bool((way.q > 0).all())
    low, high = torch.minimum(a.q, b.q), torch.maximum(a.q, b.q)
    q = way.q.view(5, 7)
    assert bool(((q >= low[:, None] * 0.999) & (q <= high[:, None] * 1.001)).all())


@pytest.mark.parametrize("dim", [1, 2, 16])
def test_the_plane_and_the_hemisphere_have_one_way(dim):
    """A latent (x, q) and the point of its ray from the mean at r = sigma sqrt(D) are one."""
    prior = StudentT(3.0, scale=80.0, loc=torch.ones(dim).double())
    a, b = draws(prior, dim)
    r = prior.scale * math.sqrt(prior.dof)

    def lifted(x):
        far = torch.hypot((x - prior.loc).norm(dim=1), torch.tensor(r).double())
        c = 1000.0 / far
        return Latent(prior.loc + c[:, None] * (x - prior.loc), c * math.sqrt(prior.dof))

    plane = between(prior, a, b, 6).x
    above = between(prior, lifted(a.x), lifted(b.x), 6)
    projected = prior.loc + (above.x - prior.loc) * (math.sqrt(prior.dof) / above.q)[:, None]
    torch.testing.assert_close(plane, projected)


def test_many_degrees_of_freedom_are_the_normal_rule():
    a, b = draws(Normal(scale=80.0), 5)
    normal = between(Normal(scale=80.0), a, b, 5).x
    torch.testing.assert_close(
        between(StudentT(1e8, scale=80.0), a, b, 5).x, normal, rtol=1e-5, atol=0
    )


def test_one_number_goes_straight():
    way = between(
        Normal(loc=1.0), Latent(torch.tensor([[-3.0]])), Latent(torch.tensor([[2.0]])), 6
    )
    torch.testing.assert_close(way.x[:, 0], torch.linspace(-3, 2, 6))


def test_equal_latents_stay_and_a_latent_at_the_mean_takes_the_others_direction():
    x, m = torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)
    torch.testing.assert_close(between(Normal(), Latent(x), Latent(x), 3).x, x.expand(3, 2))
    torch.testing.assert_close(between(Normal(), Latent(m), Latent(x), 3).x[1], x[0] / 2)


def test_opposite_directions_have_no_way():
    x = torch.tensor([[3.0, 4.0]])
    with pytest.raises(ValueError, match="exactly opposite directions"):
        between(Normal(), Latent(x), Latent(-2 * x), 3)


@pytest.mark.parametrize("field", [mixture(), mixture(Rectified()), poisson(3.0)])
def test_given_points_come_back_at_both_ends(field):
    x = field.sample(4, Rng(1)) if isinstance(field, Mixture) else field.inner.sample(4, Rng(1))
    a, b = x[:2].double(), x[2:].double()
    found = interpolate(field, a, b, 5)
    way = found.x.view(2, 5, 2)
    loss = 10 * float(round_trip(field, x.double()).max()) + 1e-9
    assert max(float((way[:, 0] - a).abs().max()), float((way[:, -1] - b).abs().max())) < loss
    assert loss < 1e-3 and float(way.diff(dim=1).norm(dim=2).min()) > 0
    assert bool((found.status == 0).all()) and len(found.nfe_per_row) == 10


@pytest.mark.parametrize("field", [mixture(), poisson(1.0), poisson(128.0)])
def test_ends_of_random_ways_are_the_samples_of_the_seed(field):
    a, b = random_pairs(field, 2, seed=5)
    way = interpolate(field, a, b, 3, y=1, nfe=9)
    samples = sample(field, 4, nfe=9, seed=5, y=1)
    torch.testing.assert_close(way.x.view(2, 3, 2)[:, [0, 2]].flatten(0, 1), samples.x)
    parts = interpolate(field, a, b, 3, y=1, nfe=9, batch=2)
    torch.testing.assert_close(way.x, parts.x)
    assert way.nfe == samples.nfe


def test_the_label_changes_half_way():
    field = mixture()
    a, b = random_pairs(field, 20)
    way = interpolate(field, a, b, 4, y=0, y_b=1, nfe=30).x.view(20, 4, 2)
    near = torch.cdist(way, MEANS.expand(20, 3, 2)).argmin(2)
    assert bool((LABELS[near] == torch.tensor([0, 0, 1, 1])).all())
    x = field.sample(2, Rng(0), torch.tensor([0, 1])).double()
    back = interpolate(field, x[:1], x[1:], 3, y=0, y_b=1).x
    torch.testing.assert_close(back[[0, 2]], x, atol=1e-4, rtol=0)


def test_the_middle_of_every_way_has_the_second_label():
    """Fractions such as 7 / 14 fall short of one half in single precision."""
    field = mixture()
    a, b = random_pairs(field, 3)
    for count in (15, 27, 29):
        way = interpolate(field, a, b, count, y=0, y_b=1, nfe=30).x
        labels = LABELS[torch.cdist(way, MEANS).argmin(1)].view(3, count)
        assert labels.sum(1).tolist() == 3 * [(count + 1) // 2]


def test_guided_fields_interpolate():
    for plain in (mixture(), poisson(128.0)):
        field = classifier_free(plain, 2.0)
        a, b = random_pairs(field, 3)
        way = interpolate(field, a, b, 5, y=0, nfe=12)
        assert bool((torch.cdist(way.x, MEANS).argmin(1) == 0).all())
        assert way.network_calls == 2 * way.nfe
        x = way.x[[0, 4]]
        ends = interpolate(field, x[:1], x[1:], 3, y=0).x[[0, 2]]
        torch.testing.assert_close(ends, x, atol=2e-3, rtol=0)


def test_latents_of_other_fields_with_a_normal_prior_turn_too():
    field = Generated(Same(), 0.0, 2.0)
    a, b = random_pairs(field, 2)
    way = interpolate(field, a, b, 5)
    torch.testing.assert_close(way.x, 2 * between(field.prior, a, b, 5).x)
    with pytest.raises(TypeError, match="no way back from data"):
        interpolate(field, a.x, b.x)


class Same(torch.nn.Module):
    """A generator whose samples are its latents."""

    event_shape, latent = (2,), 2

    def forward(self, z, y=None):
        return z


class Strange(Field):
    """A field whose prior is no spherical law."""

    prior, span, event_shape = "uniform", (0.0, 1.0), (2,)

    def velocity(self, x, t, y=None):
        return 0 * x


X = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: interpolate(mixture(), X, X[:2]), ValueError, "got 3 points a and 2 points b"),
        (lambda: interpolate(mixture(), X, X.flip(0), 1), ValueError, "got count=1; wanted 2"),
        (lambda: interpolate(mixture(), Latent(X), X), TypeError, "two of one kind"),
        (lambda: interpolate(mixture(), X[:, :1], X), ValueError, "wanted \\(B, 2\\)"),
        (lambda: interpolate(Strange(), X, X.flip(0)), TypeError, "prior uniform; latents are"),
        (lambda: interpolate(mixture(), X, X, y_b=1), ValueError, "labels of b and none of a"),
        (
            lambda: interpolate(mixture(), X, X.flip(0), y=7),
            ValueError,
            "label 7 has no components",
        ),
        (lambda: interpolate(mixture(), X, X, solver="ddim", eta=1.0), ValueError, "adds noise"),
        (
            lambda: interpolate(mixture(), *random_pairs(mixture(), 1), solver="ancestral"),
            ValueError,
            "ancestral adds noise, other noise to each point of a way",
        ),
        (lambda: random_pairs(mixture(), 0), ValueError, "got pairs=0"),
        (
            lambda: interpolate(poisson().bind(torch.ones(3)), X, X.flip(0)),
            ValueError,
            "use its plane form",
        ),
        (
            lambda: between(Normal(), Latent(X), Latent(X, X[:, 0].abs()), 3),
            ValueError,
            "both with q or both without",
        ),
    ],
)
def test_what_has_no_way_is_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_a_generator_has_no_time_between():
    with pytest.raises(TypeError, match="a generator makes samples in one step"):
        time_at(Generated(Same()), 0.5)
