"""A wrapper overrides ``posterior`` alone: shown by classifier-free guidance in a few lines."""

import pytest
import torch

from diffode import decode, encode, log_prob, sample
from diffode.fields import VP, Empirical, Karras, PoissonField, SamplingDefaults, rescheduled
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.solvers import get_solver, grid
from diffode.testing import CHECKS, check_field
from tests.wrappers import FLOWS, ClassifierFree

POINTS = torch.randn(30, 3, generator=torch.Generator().manual_seed(0)).double()
CLASSES = torch.arange(30) % 3
Y = torch.tensor([0, 2, 1, 0])
INNER = {
    "normal": Empirical(POINTS, VP(), Normal(), labels=CLASSES, bandwidth=0.3),
    "student": Empirical(POINTS, Karras(0.05, 20.0), StudentT(4.0), labels=CLASSES),
}
INNER["hemisphere"] = PoissonField(INNER["student"])


def outcome(compute):
    """What comes out: a tensor, or the words of the refusal."""
    try:
        return compute()
    except (TypeError, ValueError) as error:
        return str(error)


def equal(a, b):
    return a == b if isinstance(a, str) or isinstance(b, str) else torch.equal(a, b)


@pytest.mark.filterwarnings("ignore:Functional iteration did not converge")
@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("kind", ["normal", "hemisphere"])
def test_weight_1_is_the_conditional_field_and_0_the_other_for_every_solver(kind, name):
    inner, solver = INNER[kind], get_solver(name)
    if solver.adaptive:
        solver = get_solver(name, rtol=0.03, atol=0.03)

    def drawn(field, y):
        return outcome(lambda: sample(field, 4, solver, steps=4, y=y).x)

    labelled, plain = drawn(inner, Y), drawn(inner, None)
    assert equal(drawn(ClassifierFree(inner, 1.0), Y), labelled)
    assert equal(drawn(ClassifierFree(inner, 0.0), Y), plain)
    if isinstance(labelled, str):
        assert "normal noise" in labelled and kind != "normal"
    else:
        assert not torch.equal(labelled, plain)


def test_between_the_score_is_that_of_both():
    inner, w = INNER["normal"], 2.5
    x = 2 * torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).double()
    for t in (0.02, 0.3, 1.0):
        expected = (1 - w) * inner.score(x, t) + w * inner.score(x, t, Y)
        torch.testing.assert_close(ClassifierFree(inner, w).score(x, t, Y), expected)


@pytest.mark.parametrize("kind", INNER)
def test_rows_are_those_of_the_inner_field(kind):
    start = ClassifierFree(INNER[kind], 2.0).start(4, Rng(0), Y)
    index, (first, last) = torch.tensor([2, 0]), start.field.span
    whole = start.field.velocity(start.x, (first + last) / 2, Y)
    part = start.field.rows(index).velocity(start.x[index], (first + last) / 2, Y[index])
    torch.testing.assert_close(part, whole[index])


@pytest.mark.parametrize("kind", INNER)
def test_latents_encode_and_decode(kind):
    inner, guided = INNER[kind], ClassifierFree(INNER[kind], 1.0)
    there, expected = (encode(f, POINTS[:4], steps=8, y=Y) for f in (guided, inner))
    assert torch.equal(there.x, expected.x)
    drawn = sample(guided, 4, steps=8, y=Y, final="none")
    assert (drawn.q is not None) == (kind == "hemisphere")
    assert torch.equal(decode(guided, drawn.latent, steps=8, y=Y).x, drawn.x)


@pytest.mark.parametrize("trace", ["exact", "hutchinson", "hutch++"])
@pytest.mark.parametrize("kind", INNER)
def test_log_prob(kind, trace):
    inner = INNER[kind]

    def nats(field, y):
        return log_prob(field, POINTS[:4], trace, solver="rk4", steps=4, y=y, probes=2).nats

    assert torch.equal(nats(ClassifierFree(inner, 1.0), Y), nats(inner, Y))
    assert torch.equal(nats(ClassifierFree(inner, 0.0), Y), nats(inner, None))


@pytest.mark.parametrize("kind", INNER)
def test_what_is_refused_within_is_refused_without(kind):
    guided = ClassifierFree(INNER[kind], 2.0)
    with pytest.raises(ValueError, match="label 7 has no points"):
        sample(guided, 4, steps=4, y=7)
    if kind == "hemisphere":
        with pytest.raises(ValueError, match="bound"):
            encode(guided.start(4, Rng(0)).field, POINTS[:4], y=Y)


@pytest.mark.parametrize("kind", INNER)
def test_a_wrapper_keeps_the_contract(kind):
    field = ClassifierFree(INNER[kind], 2.0)
    assert len(check_field(field)) == len(CHECKS)
    assert f"around {type(INNER[kind]).__name__}" in repr(field)


def test_settings_that_a_field_is_sampled_with_go_through_wrappers_and_clocks():
    inner = Empirical(POINTS, Karras(0.05, 20.0), labels=CLASSES)
    inner.sampling_defaults = SamplingDefaults("euler", (20.0, 3.0, 0.4, 0.05))
    guided = ClassifierFree(inner, 1.0)
    assert grid(guided, 3, "own").tolist() == [20.0, 3.0, 0.4, 0.05]
    assert torch.equal(
        sample(guided, 4, y=Y).x, sample(inner, 4, "euler", grid="own", steps=3, y=Y).x
    )
    moved = rescheduled(guided, "theta")
    torch.testing.assert_close(moved.native(grid(moved, 3, "own")), grid(guided, 3, "own"))
