"""Divergences against autograd's Jacobian, closed-form variances, coverage of stated errors."""

import math

import pytest
import torch
from torch.autograd.functional import jacobian

from diffode.data.stats import data_stats
from diffode.fields import VP, Empirical, Field, Karras, Mixture, PoissonField, Rectified
from diffode.likelihood import divergence as module
from diffode.likelihood.divergence import divergence, stated_error
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.runs.building import build


class Linear(Field):
    """The velocity A x: its divergence is the trace of A everywhere."""

    span, prior = (0.0, 1.0), Normal()

    def __init__(self, matrix):
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.event_shape = (len(matrix),)

    def velocity(self, x, t, y=None):
        return x @ self.matrix.to(x).mT


def draws(*shape, seed=0):
    return Rng(seed).normal("test", shape, torch.float64)


def mixture(event=(3,), schedule=None, noise=None):
    means = draws(3, *event)
    return Mixture(torch.ones(3), means, draws(3, *event, seed=1).abs(), schedule or VP(), noise)


def learned(network, shape):
    x = draws(40, *shape).float()
    field = build("edm", shape, None, data_stats(x), width=8, network=network).field
    for p in field.parameters():  # some weights start at zero
        p.data = 0.3 * Rng(p.numel()).normal("weights", (p.numel(),)).view_as(p)
    return field.requires_grad_(False)


def trace_of_jacobian(field, x, t):
    """Row by row, by autograd's reverse mode without vectorisation."""
    t = torch.as_tensor(t, dtype=torch.float64).expand(len(x))
    traces = []
    for i in range(len(x)):
        j = jacobian(lambda z, i=i: field.velocity(z, t[i : i + 1]), x[i : i + 1])
        traces.append(j.reshape(x[0].numel(), -1).trace())
    return torch.stack(traces)


FIELDS = {
    "mixture": lambda: mixture((2, 2)),
    "student": lambda: mixture((3,), Karras(), StudentT(3.0)),
    "rectified": lambda: mixture((1,), Rectified()),
    "points": lambda: Empirical(draws(9, 1, 2, 3), VP(), bandwidth=0.2),
    "poisson": lambda: PoissonField(Empirical(draws(9, 4), Karras(), StudentT(1.0))),
    "bound": lambda: PoissonField(Empirical(draws(9, 4), Karras(), StudentT(1.0))).bind(
        torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    ),
    "mlp": lambda: learned("mlp", (1, 2, 2)),
    "unet": lambda: learned("unet", (1, 4, 4)),
}
APART = [name for name in FIELDS if name != "bound"]


# ------------------------------------------------------------------------------------------ exact


@pytest.mark.parametrize("name", APART)
def test_the_exact_divergence_is_the_trace_of_the_jacobian(name):
    field = FIELDS[name]()
    x = draws(3, *field.event_shape, seed=2)
    t = torch.tensor([0.3, 0.5, 0.9], dtype=torch.float64)
    d = divergence(field, x, t)
    learns = name in ("mlp", "unet")  # in float32 inside
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if learns else {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(d.velocity, field.velocity(x, t), **tolerance)
    torch.testing.assert_close(d.value, trace_of_jacobian(field, x, t), **tolerance)
    assert d.estimates.shape == (3, 1) and d.value.shape == (3,)


def test_every_row_of_a_bound_field_has_its_own_divergence():
    field, x = FIELDS["bound"](), draws(3, 4, seed=2)
    whole = divergence(field, x, 0.5).value
    for i in range(3):
        index = torch.tensor([i])
        one = trace_of_jacobian(field.rows(index), x[index], 0.5)
        torch.testing.assert_close(whole[index], one)


@pytest.mark.parametrize("method", ["exact", "hutchinson", "hutch++"])
def test_memory_bounds_change_no_number(method, monkeypatch):
    field = mixture((7,))
    x = draws(7, 7, seed=2)
    whole = divergence(field, x, 0.4, method=method, probes=5)
    monkeypatch.setattr(module, "_HELD", 2 * 49)
    torch.testing.assert_close(divergence(field, x, 0.4, method=method, probes=5), whole)


def test_types_are_kept_and_nothing_is_recorded_without_need():
    field = mixture()
    for dtype in (torch.float32, torch.float64):
        d = divergence(field, draws(4, 3).to(dtype), 0.5, method="hutchinson", probes=2)
        assert {v.dtype for v in d} == {dtype}
    with torch.no_grad():
        x = draws(4, 3).requires_grad_()
        assert not divergence(field, x, 0.5).value.requires_grad


def test_labels_reach_the_field():
    points = draws(6, 2)
    field = Empirical(points, VP(), labels=torch.tensor([0, 0, 0, 1, 1, 1]), bandwidth=0.3)
    alone = Empirical(points[3:], VP(), bandwidth=0.3)
    x = draws(4, 2, seed=2)
    labelled = divergence(field, x, 0.4, torch.ones(4, dtype=torch.long))
    torch.testing.assert_close(labelled.value, divergence(alone, x, 0.4).value)


def test_the_exact_divergence_can_be_differentiated():
    field = mixture()
    x = draws(2, 3, seed=2).requires_grad_()
    got = torch.autograd.grad(divergence(field, x, 0.5).value.sum(), x)[0]
    h = 1e-5
    for i in range(3):
        step = h * torch.eye(3, dtype=torch.float64)[i]
        up, down = (trace_of_jacobian(field, x.detach() + s * step, 0.5) for s in (1, -1))
        torch.testing.assert_close(got[:, i], (up - down) / (2 * h), rtol=1e-5, atol=1e-6)


# -------------------------------------------------------------------------------------- estimates


MATRIX = draws(6, 6, seed=3) + torch.diag(torch.arange(6.0, dtype=torch.float64))
SYMMETRIC = (MATRIX + MATRIX.mT) / 2


def variance(law):
    """Of one estimate of the trace of MATRIX, in closed form."""
    square = SYMMETRIC.square().sum()
    if law == "signs":
        return float(2 * (square - SYMMETRIC.diagonal().square().sum()))
    return float(2 * 6 / 8 * (square - SYMMETRIC.trace() ** 2 / 6))


@pytest.mark.parametrize("law", ["signs", "sphere"])
def test_hutchinson_has_the_mean_and_variance_of_the_theory(law):
    d = divergence(Linear(MATRIX), draws(2000, 6), 0.5, None, "hutchinson", Rng(1), 10, law)
    error = math.sqrt(variance(law) / 20000)
    assert abs(float(d.estimates.mean() - MATRIX.trace())) < 4 * error
    assert abs(float(d.estimates.var()) / variance(law) - 1) < 0.05
    torch.testing.assert_close(d.value, d.estimates.mean(1))


def test_hutch_plus_plus_is_unbiased():
    d = divergence(Linear(MATRIX), draws(4000, 6), 0.5, None, "hutch++", Rng(1), 2)
    means = d.value
    assert abs(float(means.mean() - MATRIX.trace())) < 4 * float(means.std()) / math.sqrt(4000)
    assert float(means.std()) > 0.1


@pytest.mark.parametrize("multiple", [0.0, 5.0, -2.0])
def test_hutch_plus_plus_is_exact_on_a_small_rank_beside_a_multiple_of_the_identity(multiple):
    matrix = draws(12, 3) @ draws(3, 12, seed=1) + multiple * torch.eye(12, dtype=torch.float64)
    x = draws(5, 12)
    for probes in (7, 12):
        d = divergence(Linear(matrix), x, 0.5, method="hutch++", probes=probes)
        torch.testing.assert_close(d.estimates, matrix.trace().expand(5, probes))
    plain = divergence(Linear(matrix), x, 0.5, method="hutchinson", probes=7)
    assert float(plain.estimates.std()) > 1


@pytest.mark.parametrize("multiple", [0.0, 1.0])
def test_hutch_plus_plus_pays_where_the_spectrum_decays(multiple):
    rotation = torch.linalg.qr(draws(30, 30))[0]
    spectrum = multiple + 0.6 ** torch.arange(30, dtype=torch.float64)
    field, x = Linear(rotation @ torch.diag(spectrum) @ rotation.mT), draws(300, 30)
    spread = {}
    for method, probes in (("hutchinson", 18), ("hutch++", 6)):  # 18 products each
        spread[method] = divergence(field, x, 0.5, None, method, None, probes).value.std()
    assert spread["hutch++"] < spread["hutchinson"] / 3


@pytest.mark.parametrize("method", ["hutchinson", "hutch++"])
def test_estimates_belong_to_the_rows_and_not_to_the_batch(method):
    field, x, index = mixture((5,)), draws(5, 5, seed=2), torch.tensor([3, 1])
    whole = divergence(field, x, 0.4, None, method, Rng(4), 3)
    part = divergence(field, x[index], 0.4, None, method, Rng(4).rows(index), 3)
    torch.testing.assert_close(part.estimates, whole.estimates[index])
    other = divergence(field, x, 0.4, None, method, Rng(5), 3)
    assert not torch.allclose(other.estimates, whole.estimates)


def test_more_probes_begin_with_the_same():
    field, x = mixture((5,)), draws(2, 5, seed=2)
    few, many = (divergence(field, x, 0.4, None, "hutchinson", None, k).estimates for k in (3, 9))
    torch.testing.assert_close(few, many[:, :3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "skilling"}, "got trace 'skilling'; wanted exact, hutchinson"),
        ({"method": "hutchinson", "law": "normal"}, "law 'normal'; wanted signs, sphere"),
        ({"method": "hutch++", "probes": 0}, "got 0 probes; an estimate needs at least 1"),
    ],
)
def test_what_cannot_be_estimated_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        divergence(mixture(), draws(2, 3), 0.5, **options)


# ----------------------------------------------------------------------------------- stated errors


LAWS = {
    "normal": lambda n: n,
    "skewed": lambda n: n.square() - 1,
    "two values": lambda n: n.sign(),
    "uniform": lambda n: torch.special.ndtr(n) - 0.5,
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("count", [10, 20, 60])
def test_a_stated_error_covers_the_truth(law, count):
    """Nineteen times of twenty, to 3 % (5 % of ten): of mean zero, 4,000 means of them."""
    estimates = LAWS[law](draws(4000, count, seed=count))
    covered = estimates.mean(1).abs() <= 1.96 * stated_error(estimates)
    assert (0.9 if count == 10 else 0.92) < float(covered.double().mean()) < 0.985


def test_a_stated_error_is_the_standard_error_of_many():
    estimates = draws(3, 20000)
    classical = estimates.std(1) / math.sqrt(20000)
    torch.testing.assert_close(stated_error(estimates), classical, rtol=1e-3, atol=0)


def test_a_stated_error_follows_scale_and_not_place():
    estimates = draws(50, 12).exp()
    once, again = stated_error(estimates), stated_error(7 - 3 * estimates)
    torch.testing.assert_close(again, 3 * once)
    assert stated_error(torch.ones(2, 10)).tolist() == [0, 0]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_no_error_is_stated_of_few_estimates(count):
    """All equal, at whatever error, they would state 0."""
    assert stated_error(torch.ones(2, count)).tolist() == [math.inf, math.inf]
