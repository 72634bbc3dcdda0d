"""Interpolants between two sets of points, by their exact fields."""

import math

import pytest
import torch

import diffode
from diffode.fields import Empirical, EmpiricalInterpolant, Interpolant, Rectified
from diffode.fields.curves import CURVES, BrownianBridge, bridge
from diffode.rng import Rng
from diffode.sampling import interpolate
from diffode.solvers import get_solver
from tests.clouds import apart, p_value

FORMS = [("linear", BrownianBridge(0.5)), ("trigonometric", 0.5), ("bridge", BrownianBridge(0.5))]
IDS = [name for name, _ in FORMS]


def sets(count=20):
    """Points on a half circle, and points about the corners of a square."""
    g = torch.Generator().manual_seed(1)
    angle = torch.linspace(0, math.pi, count).double()
    arc = torch.stack((angle.cos(), angle.sin()), 1)
    corner = torch.arange(count) % 4 * math.pi / 2 + 0.4
    about = 0.1 * torch.randn(count, 2, generator=g).double()
    return arc, 2 * torch.stack((corner.cos(), corner.sin()), 1) + about


def between(form=FORMS[0], bandwidth=0.1, **labels):
    return EmpiricalInterpolant(*sets(), Interpolant(*form), bandwidth, **labels)


def test_with_a_normal_starting_law_the_line_is_rectified_flow():
    data = sets()[0]
    exact = Empirical(data, Rectified())
    same = EmpiricalInterpolant(data, torch.zeros(1, 2), Interpolant("linear", lambda t: t))
    x = 0.7 * torch.randn(30, 2, generator=torch.Generator().manual_seed(0)).double()
    for t in (1.0, 0.6, 0.2):
        t = torch.tensor(t).double()
        assert torch.allclose(same.velocity(x, t), exact.velocity(x, t), rtol=0, atol=1e-12)
        assert torch.allclose(same.score(x, t), exact.score(x, t), rtol=0, atol=1e-12)
        assert torch.allclose(same.log_marginal(x, t), exact.log_marginal(x, t), atol=1e-12)


def residual(field, x, t, velocity):
    """Of the continuity equation, d log p/dt + div v + v . score, and the size of its parts."""
    e = 1e-4
    change = (field.log_marginal(x, t + e) - field.log_marginal(x, t - e)) / (2 * e)
    one = torch.func.jacrev(lambda q: velocity(q[None], t)[0])
    spread = torch.func.vmap(one)(x).diagonal(dim1=1, dim2=2).sum(1)
    carried = (velocity(x, t) * field.score(x, t)).sum(1)
    return float((change + spread + carried).abs().max()), float(change.abs().max())


@pytest.mark.parametrize("form", FORMS, ids=IDS)
@pytest.mark.parametrize("bandwidth", [0.0, 0.1])
def test_density_and_velocity_fulfil_the_continuity_equation(form, bandwidth):
    field = between(form, bandwidth)
    x = field.sample(16, Rng(3), t=0.4)
    left, size = residual(field, x, 0.4, field.velocity)
    assert left < 1e-5 * size
    wrong, size = residual(field, x, 0.4, lambda q, t: field.velocity(q, t + 0.02))
    assert wrong > 1e-2 * size


def test_the_score_is_the_slope_of_the_log_density():
    field = between(bandwidth=0.2)
    x = field.sample(8, Rng(0), t=0.3)
    slope = torch.func.grad(lambda q: field.log_marginal(q, 0.3).sum())(x)
    assert torch.allclose(field.score(x, 0.3), slope, atol=1e-10)


@pytest.mark.parametrize("form", FORMS, ids=IDS)
def test_the_flow_has_the_law_of_the_interpolant_on_its_way_and_at_its_end(form):
    field = between(form)
    other = between(FORMS[1] if form[0] == "linear" else FORMS[0])
    for seed in range(3):
        path = diffode.sample(field, 700, "heun", steps=30, seed=seed, path=True)
        end, middle = path.x.double(), path.path[15].double()
        assert p_value(end, field.sample(700, Rng(seed + 50))) > 0.01
        assert p_value(middle, field.sample(700, Rng(seed + 50), t=0.5)) > 0.01
    assert p_value(end, field.sample(700, Rng(9), t=0.15)) < 0.01
    assert p_value(middle, other.sample(700, Rng(9), t=0.5)) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS, ids=IDS)
def test_many_points_have_the_laws_of_the_interpolant(form):
    """10,000 draws half way and at the end; another time and another curve are told apart."""
    another = FORMS[(FORMS.index(form) + 1) % len(FORMS)]
    field, other = (EmpiricalInterpolant(*sets(10), Interpolant(*f), 0.1) for f in (form, another))
    for seed in range(3):
        path = diffode.sample(field, 10_000, "heun", steps=30, seed=seed, path=True)
        end, middle = path.x, path.path[15]
        assert apart(end, field.sample(10_000, Rng(seed + 50))) > 0.01
        assert apart(middle, field.sample(10_000, Rng(seed + 50), t=0.5)) > 0.01
    assert apart(end, field.sample(10_000, Rng(9), t=0.15)) < 1e-4
    assert apart(middle, field.sample(10_000, Rng(9), t=0.45)) < 1e-4
    assert apart(middle, other.sample(10_000, Rng(9), t=0.5)) < 1e-4


def test_the_flow_carries_the_data_back_to_the_starting_points():
    field = between()
    latents = diffode.encode(field, field.sample(1000, Rng(0)), "heun", steps=40).x
    assert p_value(latents, field.sample(1000, Rng(5), t=1.0)) > 0.01


def test_a_density_is_that_of_the_starting_points_where_it_is_given():
    field = between(bandwidth=0.3)
    x = field.sample(6, Rng(0))
    with pytest.raises(ValueError, match="starts from points whose density is not known"):
        diffode.log_prob(field, x)
    found = diffode.log_prob(field, x, terminal=lambda z: field.log_marginal(z, 1.0))
    assert torch.allclose(found.nats, field.log_marginal(x, 0.0), atol=1e-4)


def test_what_needs_a_known_prior_says_so():
    field = between()
    with pytest.raises(TypeError, match="starts from points without a known law"):
        diffode.sample(field, 2, temperature=0.5)
    with pytest.raises(TypeError, match="got a field that starts from points; latents are"):
        interpolate(field, *sets())
    assert not field.is_bound


def test_points_of_a_class_start_from_points_of_the_same_class():
    data, start = sets()
    labels0, labels1 = torch.arange(20) // 10, torch.arange(20) % 4 // 2
    field = EmpiricalInterpolant(data, start, Interpolant("linear", 0.3), 0.1, labels0, labels1)
    one = EmpiricalInterpolant(
        data[labels0 == 1], start[labels1 == 1], Interpolant("linear", 0.3), 0.1
    )
    x = field.sample(12, Rng(0), t=0.5)
    ones = torch.ones(12, dtype=torch.int64)
    assert torch.allclose(field.velocity(x, 0.5, ones), one.velocity(x, 0.5), atol=1e-12)
    assert torch.allclose(field.log_marginal(x, 0.5, ones), one.log_marginal(x, 0.5), atol=1e-12)
    both = torch.stack([field.log_marginal(x, 0.5, k * ones) for k in range(2)])
    mixed = torch.logsumexp(both + math.log(0.5), 0)
    assert torch.allclose(field.log_marginal(x, 0.5), mixed, atol=1e-12)
    y = torch.arange(1000) % 2
    drawn = field.start(1000, Rng(1), y).x
    assert p_value(drawn[y == 1], one.start(500, Rng(2)).x) > 0.01
    with pytest.raises(ValueError, match="label 2 has no points"):
        field.velocity(x, 0.5, 2 * ones)
    with pytest.raises(ValueError, match="label 0 has points in x0 and none in x1"):
        EmpiricalInterpolant(
            data, start, Interpolant(gamma=0.3), labels0=labels0, labels1=labels0 * 0 + 1
        )


def test_memory_is_bounded_by_chunks_that_change_nothing(monkeypatch):
    field, t = between(FORMS[2]), torch.linspace(0.2, 0.8, 6).double()
    x = field.sample(6, Rng(0), t=0.5)
    whole = field.velocity(x, t)
    monkeypatch.setattr("diffode.fields.pairs._VALUES", 300)
    assert torch.allclose(field.velocity(x, t), whole, atol=1e-12)


@pytest.mark.parametrize("name", CURVES)
def test_the_rate_of_a_curve_is_its_slope(name):
    x0, x1 = torch.randn(2, 4, 1, 3, 3, dtype=torch.float64).unbind()
    t, e = torch.rand(4, dtype=torch.float64), 1e-6
    form = Interpolant(name)
    form.require_ends(x0, x1)
    slope = (form.point(t + e, x0, x1) - form.point(t - e, x0, x1)) / (2 * e)
    assert torch.allclose(form.rate(t, x0, x1)[1], slope, atol=1e-7)


def test_the_bridge_is_curved_and_no_sum_of_functions_of_its_ends():
    x0, x1 = torch.randn(2, 5, 4, dtype=torch.float64).unbind()
    t = torch.tensor(0.5, dtype=torch.float64)
    middle, zero = bridge(t, x0, x1), torch.zeros_like(x0)
    assert float((middle - (x0 + x1) / 2).abs().max()) > 0.05
    summed = bridge(t, x0, zero) + bridge(t, zero, x1)
    assert float((middle - summed).abs().max()) > 0.01


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a, b: Interpolant("straight"), "got the curve 'straight'; wanted linear, trig"),
        (lambda a, b: Interpolant(gamma=-1.0), "got gamma -1.0; wanted a finite number"),
        (lambda a, b: EmpiricalInterpolant(a, b, Interpolant()), "gamma = 0 and no bandwidth"),
        (
            lambda a, b: EmpiricalInterpolant(a, b, Interpolant(lambda t, x, y: x, 0.1)),
            "away from x_1 at t = 1",
        ),
        (lambda a, b: EmpiricalInterpolant(a, b[:, :1], Interpolant(gamma=1.0)), "got x1 of sh"),
        (
            lambda a, b: EmpiricalInterpolant(a, b, Interpolant(gamma=1.0)).velocity(a, 0.0),
            "noise of this interpolant is 0 at this time",
        ),
        (lambda a, b: between().velocity(a, 0.5, torch.zeros(20)), "built without labels"),
    ],
)
def test_what_has_no_field_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(*sets())


@pytest.mark.parametrize("form", FORMS, ids=IDS)
def test_the_sde_has_the_laws_of_the_flow(form):
    field = between(form, bandwidth=0.15)
    for seed in range(3):
        path = diffode.sample(
            field, 500, "sde-interpolant", steps=40, eps=0.3, seed=seed, path=True
        )
        assert p_value(path.x.double(), field.sample(500, Rng(seed + 50))) > 0.01
        middle = field.sample(500, Rng(seed + 50), t=0.5)
        assert p_value(path.path[20].double(), middle) > 0.01


def test_the_sde_forgets_where_it_started_and_the_flow_does_not():
    field = between(bandwidth=0.15)
    start = field.start(1, Rng(0)).x.expand(200, 2)
    times = torch.linspace(1, 0, 41, dtype=torch.float64)
    moved = get_solver("sde-interpolant", eps=0.3)(field, start, times, rng=Rng(1)).x
    assert float(moved.std(0).min()) > 0.2
    assert float(get_solver("heun")(field, start, times).x.std(0).max()) < 1e-6


def test_the_sde_says_what_it_cannot_do():
    with pytest.raises(TypeError, match="needs an interpolant with noise, and Empirical is none"):
        diffode.sample(Empirical(sets()[0], Rectified()), 2, "sde-interpolant")
    with pytest.raises(ValueError, match="adds noise"):
        diffode.encode(between(), sets()[0], "sde-interpolant", steps=4)
    plain = diffode.build("interpolant", (2,), width=8, depth=1).field
    with pytest.raises(TypeError, match="follows the score, which this interpolant has none of"):
        diffode.sample(plain, 2, "sde-interpolant")
    with pytest.raises(ValueError, match="input should be greater than 0"):
        get_solver("sde-interpolant", eps=0.0)
