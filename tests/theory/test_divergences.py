"""The table of h: derivatives, f-GAN's duality, stable forms, and what is refused."""

import pytest
import torch

from diffode.fields import get_divergence
from diffode.fields.divergences import DIVERGENCES

NAMES = list(DIVERGENCES)
NOT_MONOTONE = {"lsgan-c0", "naive-kl", "naive-chi2", "naive-hellinger", "naive-js"}
each = pytest.mark.parametrize("name", NAMES)
D = torch.linspace(-12, 12, 481, dtype=torch.float64)


def slope(h):
    return torch.func.grad(lambda d: h(d).sum())


@each
def test_the_slope_is_the_derivative(name):
    entry = DIVERGENCES[name]
    expected = slope(entry.h)(D)
    torch.testing.assert_close(entry.slope(D), expected, rtol=1e-10, atol=1e-12)


@each
def test_the_flag_says_whether_the_slope_is_positive(name):
    entry = DIVERGENCES[name]
    assert entry.monotone == bool((slope(entry.h)(D) > 0).all())
    assert entry.monotone == (name not in NOT_MONOTONE)


@each
def test_float32_stays_finite_with_its_gradients(name):
    entry = DIVERGENCES[name]
    d = torch.tensor([0.0, 12, 15, 17, 20, 30, 60, 100, 1000])
    d = torch.cat((d, -d))
    gradient = slope(entry.h)(d)
    second = slope(slope(entry.h))(d)
    for number in (entry.h(d), gradient, second, entry.slope(d), entry.output(d)):
        assert number.isfinite().all()
    if entry.monotone:
        assert (gradient >= 0).all()


GENERATORS = {  # the convex f of D_f(p | q) = E_q f(p / q)
    "kl": lambda r: r * r.log(),
    "reverse-kl": lambda r: -r.log(),
    "pearson": lambda r: (r - 1).square(),
    "hellinger": lambda r: (r.sqrt() - 1).square(),
    "js": lambda r: r * r.log() - (r + 1) * ((r + 1) / 2).log(),
}


@pytest.mark.parametrize("name", GENERATORS)
def test_f_gan_moves_by_the_first_variation(name):
    """h = r f'(r) - f(r) up to a constant, and h' = r^2 f''(r)."""
    entry, f = DIVERGENCES[name], GENERATORS[name]
    d = D[D.abs() < 6]
    r = d.exp()
    first = slope(f)(r)
    second = torch.func.grad(lambda r: slope(f)(r).sum())(r)
    expected = r.square() * second
    torch.testing.assert_close(entry.slope(d), expected, rtol=1e-8, atol=1e-9)
    gap = entry.h(d) - (r * first - f(r))
    torch.testing.assert_close(gap, gap[:1].expand_as(gap), rtol=0, atol=1e-6)
    torch.testing.assert_close(entry.output(d), first, rtol=1e-9, atol=1e-9)


NAIVE = {
    "naive-kl": "kl",
    "naive-chi2": "pearson",
    "naive-hellinger": "hellinger",
    "naive-js": "js",
}


@pytest.mark.parametrize(("naive", "f"), NAIVE.items(), ids=NAIVE)
def test_naive_losses_are_f_itself(naive, f):
    d = D[D.abs() < 6]
    expected = -GENERATORS[f](d.exp())
    torch.testing.assert_close(DIVERGENCES[naive].h(d), expected, rtol=1e-9, atol=1e-9)


def test_the_trick_maximises_the_output():
    """-T with T = f'(r) has h' = r f''(r): of reverse KL, whose T is -1 / r."""
    entry = DIVERGENCES["reverse-kl-trick"]
    torch.testing.assert_close(entry.h(D), DIVERGENCES["reverse-kl"].output(D))


@pytest.mark.parametrize(
    ("name", "a", "b", "c"), [("lsgan", 0.0, 1.0, 1.0), ("lsgan-c0", -1.0, 1.0, 0.0)]
)
def test_least_squares_by_its_two_losses(name, a, b, c):
    """The critic minimises p (D - b)^2 + q (D - a)^2; the generator (D - c)^2 / 2."""
    entry = DIVERGENCES[name]
    p, q = torch.sigmoid(D), torch.sigmoid(-D)
    best = (p * b + q * a) / (p + q)
    torch.testing.assert_close(entry.output(D), best, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(entry.h(D), -(best - c).square() / 2, rtol=1e-6, atol=1e-12)


def test_classifier_losses_by_the_probability():
    """-h is the published loss of the classifier's probability s(d)."""
    s = torch.sigmoid(D)
    for name, loss in {
        "vanilla": (1 - s).log(),
        "ns": -s.log(),
        "shifted": (1 - torch.sigmoid(D + 5)).log(),
    }.items():
        torch.testing.assert_close(-DIVERGENCES[name].h(D), loss, rtol=1e-5, atol=1e-9)


def test_exponentials_go_on_straight_from_their_bound():
    kl = DIVERGENCES["kl"]
    d = torch.tensor([30.0, 31.0, 32.0], dtype=torch.float64)
    values = kl.h(d)
    assert float(values[2] - values[1]) == pytest.approx(float(kl.slope(d[:1])))
    torch.testing.assert_close(slope(kl.h)(d), torch.full_like(d, float(d[:1].exp())))


def test_a_typo_is_met_by_the_nearest_name():
    with pytest.raises(ValueError, match=r"no h named 'logits'; did you mean 'logit'\?"):
        get_divergence("logits")


@pytest.mark.parametrize("name", sorted(NOT_MONOTONE))
def test_named_ones_that_are_not_monotone_are_refused(name):
    with pytest.raises(ValueError, match=rf"h '{name}' falls in places: .* check=False"):
        get_divergence(name)
    assert get_divergence(name, check=False) is DIVERGENCES[name]


def test_a_callers_own_function():
    own = get_divergence(lambda d: d + 0.5 * d.sin())
    assert own.monotone
    torch.testing.assert_close(own.slope(D), 1 + 0.5 * D.cos())
    with pytest.raises(ValueError, match=r"slope -11 at d = -12.*check=False"):
        get_divergence(lambda d: d + d.square() / 2)
    assert not get_divergence(lambda d: d + d.square() / 2, check=False).monotone
    with pytest.raises(ValueError, match=r"h has slope -0.0833 at d = -12"):
        get_divergence(torch.log)
    with pytest.raises(ValueError, match=r"h gave shape \(\) for d of shape \(481,\)"):
        get_divergence(torch.sum)


def test_an_entry_passes_through():
    assert get_divergence(DIVERGENCES["ns"]) is DIVERGENCES["ns"]
