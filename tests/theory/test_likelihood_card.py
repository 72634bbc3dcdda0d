"""Gradients of likelihoods, refusals, the way there and back, bits per dimension, the card."""

import math

import pytest
import torch
from test_likelihood import Spiral, draws, mixture, points, tensor, wide

from diffode.data.stats import data_stats
from diffode.fields import (
    Empirical,
    Karras,
    PoissonField,
)
from diffode.likelihood.card import likelihood_card
from diffode.likelihood.density import log_prob
from diffode.likelihood.dequantisation import (
    Quantisation,
    bits_per_dim,
    dequantise,
    law_at_prior,
)
from diffode.likelihood.divergence import Probes
from diffode.likelihood.transport import Transport
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.runs.building import build
from diffode.sampling import encode, sample
from diffode.sampling.encoding import decode, round_trip
from diffode.solvers import get_solver

# -------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("gradient", ["direct", "adjoint", None])
def test_the_gradient_is_the_score(gradient):
    field = mixture(Karras(0.3, 5.0))
    x = points(field, 3).requires_grad_()
    result = log_prob(
        field, x, terminal=lambda z: field.log_marginal(z, 5.0), gradient=gradient, rtol=1e-6
    )
    (got,) = torch.autograd.grad(result.nats.sum(), x)
    torch.testing.assert_close(got, field.score(x.detach(), 0.3), rtol=0, atol=1e-4)


@pytest.mark.parametrize("trace", ["exact", pytest.param("hutchinson", marks=pytest.mark.slow)])
def test_gradients_of_parameters(trace):
    """Through the solver and by the adjoint flow, beside a difference along a direction."""
    data = draws(60, 2).float()
    options = {"width": 4, "depth": 1, "sigma_min": 0.5, "sigma_max": 3.0}
    field = build("edm", (2,), None, data_stats(data), **options).field.double()
    x, settings = data[:2].double(), {"rtol": 1e-6, "atol": 1e-6, "probes": 1}
    parameters = list(field.parameters())
    for p in parameters:
        p.data = 0.3 * Rng(p.numel()).normal("weights", (p.numel(),), torch.float64).view_as(p)
    along = [Rng(k).normal("along", (p.numel(),)).view_as(p) for k, p in enumerate(parameters)]
    slopes = {}
    for kind in ("direct", "adjoint"):
        nats = log_prob(field, x, trace, gradient=kind, **settings).nats
        gradient = torch.autograd.grad(nats.sum(), parameters, allow_unused=True)
        pairs = zip(gradient, along, strict=True)
        slopes[kind] = sum(float((g * a).sum()) for g, a in pairs if g is not None)
    values = {}
    for step in (1e-4, -1e-4):
        for p, a in zip(parameters, along, strict=True):
            p.data += (step - values.get("at", 0.0)) * a
        values |= {"at": step, step: float(log_prob(field, x, trace, **settings).nats.sum())}
    truth = (values[1e-4] - values[-1e-4]) / 2e-4
    assert abs(truth) > 0.1
    assert slopes == pytest.approx({"direct": truth, "adjoint": truth}, rel=1e-3)


def test_nothing_is_recorded_unless_asked_for():
    field, x = build("edm", (2,), None, data_stats(draws(60, 2)), width=4).field, draws(2, 2)
    assert any(p.requires_grad for p in field.parameters())
    assert not log_prob(field, x, rtol=1e-2).nats.requires_grad
    x.requires_grad_()
    assert not log_prob(field, x, gradient="none", rtol=1e-2).nats.requires_grad
    with torch.no_grad():
        assert not log_prob(field, x, rtol=1e-2).nats.requires_grad
    assert log_prob(mixture(Karras(0.3, 3.0)), x, rtol=1e-2).nats.requires_grad


# --------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": torch.zeros(2, 3)}, ValueError, r"got x of shape \(2, 3\)"),
        ({"x": torch.zeros(0, 2)}, ValueError, r"got x of shape \(0, 2\)"),
        ({"y": torch.zeros(3)}, ValueError, "got 2 points and 3 labels"),
        ({"batch": 0}, ValueError, "got batch=0"),
        ({"trace": "trace"}, ValueError, "got trace 'trace'; wanted exact"),
        ({"gradient": "forward"}, ValueError, "got gradient 'forward'; wanted direct"),
        ({"solver": "ddim"}, TypeError, "ddim needs an AffineField"),
        ({"solver": get_solver("heun"), "rtol": 1e-3}, ValueError, "solver options go with a"),
        ({"solver": "heun", "gradient": "adjoint"}, TypeError, "the adjoint is solved by dopri5"),
        ({"solver": "heun", "rtol": 1e-3}, ValueError, "no option 'rtol'"),
        ({"clock": "sundial"}, ValueError, "no clock named 'sundial'"),
    ],
)
def test_what_cannot_be_done_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        log_prob(mixture(), **{"x": torch.zeros(2, 2)} | change)


def test_a_bound_poisson_field_is_refused_with_its_reason():
    law = Empirical(draws(5, 2), Karras(), StudentT(1.0))
    bound = PoissonField(law).bind(torch.ones(2))
    for use in (log_prob, likelihood_card):
        with pytest.raises(ValueError, match=r"no prior .* bound to q .* plane form, q=None"):
            use(bound, torch.zeros(2, 2))


def test_a_stochastic_solver_is_refused():
    solver = get_solver("heun")
    solver.normal_only = True
    with pytest.raises(TypeError, match="heun adds noise; a density is carried by a flow"):
        log_prob(mixture(), torch.zeros(2, 2), solver=solver)


# ------------------------------------------------------------------------ transport and round trip


def test_rows_of_the_transport_keep_their_probes():
    field, x = wide(3), draws(4, 3)
    test = Rng(0).normal("u", (4, 2, 3), torch.float64)
    whole = Transport(field, Probes(test[:, :0], test), "theta")
    state = whole.to_state(x)
    assert state.shape == (4, 5)
    index = torch.tensor([2, 0])
    t = whole.times(3)[1]
    torch.testing.assert_close(
        whole.rows(index).velocity(state[index], t), whole.velocity(state, t)[index]
    )


def test_decoding_inverts_encoding():
    field = mixture()
    x = points(field, 4)
    tight = {"solver": "dopri5", "rtol": 1e-9, "atol": 1e-9}
    latent = encode(field, x, **tight)
    back = decode(field, latent.x, **tight)
    torch.testing.assert_close(back.x, x, rtol=0, atol=1e-6)
    assert back.t_end == field.span[1] and back.final == "none"
    error = round_trip(field, x, **tight)
    torch.testing.assert_close(error, (back.x - x).square().mean(1).sqrt(), rtol=0, atol=1e-12)
    rough = round_trip(field, x, "heun", steps=8)
    assert rough.shape == (4,) and bool((rough > 100 * error).all())


def test_decoding_a_samples_latent_gives_the_sample():
    law = Empirical(draws(5, 2), Karras(), StudentT(1.0))
    field = PoissonField(law)
    drawn = sample(field, 6, "heun", steps=10, path=True)
    again = decode(field, drawn.path[0], "heun", steps=10, q=drawn.q, final="denoise")
    torch.testing.assert_close(again.x, drawn.x)
    assert torch.equal(again.q, drawn.q) and again.nfe == drawn.nfe == 21
    plane = decode(field, drawn.path[0], "heun", steps=10)
    assert not torch.allclose(plane.x, drawn.x, atol=0.1)
    with pytest.raises(TypeError, match="got q for a Empirical"):
        decode(law, drawn.path[0], q=drawn.q)
    with pytest.raises(ValueError, match=r"got x of shape \(6, 3\)"):
        decode(field, torch.zeros(6, 3))
    with pytest.raises(TypeError, match="Spiral states no E"):
        decode(Spiral(), torch.zeros(6, 2), final="denoise")


# ----------------------------------------------------------------------- bits per dimension, card


def test_bits_per_dimension_of_a_law_of_levels():
    """Uniform on 17 levels in every coordinate: log2 17 bits, whatever the scale of the data."""
    for low, high in ((-1.0, 1.0), (0.0, 16.0)):
        levels = Quantisation(17, low, high)
        log_density = -3 * math.log(17 * levels.width)
        bits = bits_per_dim(tensor(log_density), 3, levels)
        assert abs(float(bits) - math.log2(17)) < 1e-12
    assert abs(float(bits_per_dim(tensor(-3 * math.log(2)), 3)) - 1) < 1e-12


def test_uniform_dequantisation_bounds_the_code_length():
    """Of a normal law quantised to 9 levels: above the entropy, by little."""
    levels = Quantisation(9, -2.0, 2.0)
    edges = torch.linspace(-2.25, 2.25, 10, dtype=torch.float64)
    probability = torch.special.ndtr(edges).diff()
    values = torch.linspace(-2, 2, 9, dtype=torch.float64).repeat(2000)[:, None]
    x = dequantise(values, levels, Rng(0))
    nats = Normal().log_prob(x).view(2000, 9)
    bits = bits_per_dim(nats, 1, levels)
    code = -probability.log2()
    square = torch.linspace(-2, 2, 9, dtype=torch.float64).square() + 0.5**2 / 12
    expected = (square + math.log(2 * math.pi)) / (2 * math.log(2)) + 1  # of x^2, in cells of 1/2
    assert bool((expected > code).all()) and float((expected - code).max()) < 0.06
    assert bool(((bits.mean(0) - expected).abs() < 4 * bits.std(0) / 2000**0.5).all())
    assert bool((bits.mean(0) > code).all())
    assert float((x - values).abs().max()) <= 0.25 and abs(float((x - values).mean())) < 0.005


def test_dequantisation_refuses_other_data():
    levels = Quantisation(17)
    with pytest.raises(ValueError, match="other values than the 17 from -1 to 1"):
        dequantise(draws(4, 2), levels, Rng(0))
    with pytest.raises(ValueError, match="other values than the 17"):
        dequantise(tensor([1.5]), levels, Rng(0))
    x = tensor([0.5], [-1.0]).float()
    once = dequantise(x, levels, Rng(0))
    assert once.dtype == torch.float32
    assert torch.equal(once[1:], dequantise(x[1:], levels, Rng(0).rows(torch.tensor([1]))))


def test_a_card_holds_what_it_says():
    field = wide(24)
    x, seen = points(field, 6), []
    card = likelihood_card(
        field,
        x,
        "hutchinson",
        "dopri5",
        levels=Quantisation(17),
        batch=4,
        rtol=1e-4,
        progress=seen.append,
    )
    assert seen == [4, 6, 10, 12]
    f, r = card.figures(), card.result
    assert (f["points"], f["dim"], f["levels"], f["offset_bits"]) == (6, 24, 17, 3.0)
    assert abs(f["prior"] + f["divergence"] - f["nats"]) < 1e-9
    assert f["bits_per_dim"] == pytest.approx(-f["nats"] / (24 * math.log(2)) + 3)
    assert f["nats_stderr"] == pytest.approx(float(r.nats.std()) / math.sqrt(6))
    looser = log_prob(field, x, "hutchinson", solver="dopri5", batch=4, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(card.effect, looser.nats - r.nats)
    assert f["tolerance_effect_max"] == pytest.approx(float(card.effect.abs().max()))
    assert f["estimator_error"] == pytest.approx(float(r.stderr.norm()) / 6)
    text = str(card)
    for words in ("nats", "bits per dimension", "offset +3.000", "prior mismatch", "dopri5(rtol="):
        assert words in text
    assert f"{f['nats']:.4f}" in text and "(hutchinson)" in text


def test_a_card_takes_half_the_steps_of_a_solver_with_steps():
    field = wide(2)
    x = points(field, 3)
    card = likelihood_card(field, x, solver="heun", steps=40)
    halved = log_prob(field, x, solver="heun", steps=20)
    torch.testing.assert_close(card.effect, halved.nats - card.result.nats)
    assert "exact trace" in str(card) and "of the density itself" in str(card)


def test_a_card_of_a_plain_field_knows_no_mismatch():
    card = likelihood_card(Spiral(), draws(2, 2))
    assert card.mismatch is None and card.level is None
    assert card.figures()["prior_mismatch"] is None and "not known" in str(card)
    law = likelihood_card(Spiral(), draws(2, 2), terminal=Normal().log_prob)
    gap = Normal().log_prob(law.result.latent) - Spiral.prior.log_prob(law.result.latent)
    torch.testing.assert_close(law.mismatch, gap)
    torch.testing.assert_close(card.result.nats, law.result.nats)


def test_the_law_of_the_data_at_the_prior_is_nearly_that_of_the_mixture():
    field = mixture(Karras(0.1, 4.0))
    data = field.sample(4000, Rng(0))
    latent = 4 * draws(5, 2)
    near, truth = law_at_prior(field, data)(latent), field.log_marginal(latent, 4.0)
    gap = float((truth - field.prior.log_prob(latent)).abs().max())
    assert float((near - truth).abs().max()) < gap / 4
