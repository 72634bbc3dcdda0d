"""Flow maps: the semigroup, the diagonal, and the solver that jumps."""

import pytest
import torch

from diffode import log_prob, sample
from diffode.fields import (
    VP,
    Cosine,
    Karras,
    Mixture,
    Rectified,
    classifier_free,
    rescheduled,
)
from diffode.rng import Rng
from diffode.runs.building import build
from diffode.solvers import get_solver, grid
from diffode.testing import CHECKS, check_field
from tests.maps import GaussianMap, flowed
from tests.wrappers import ClassifierFree

SCHEDULES = [Karras(), VP(), Rectified(), Cosine()]
X = 2 * Rng(1).normal("x", (5, 3), torch.float64)


def times(field):
    first, last = field.span
    return [first + (last - first) * share for share in (0.1, 0.6, 0.95)]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_a_jump_is_the_flow_and_two_are_one(schedule):
    field = GaussianMap(schedule)
    s, u, t = times(field)
    there = field.jump(X, s, t)
    torch.testing.assert_close(there, flowed(field, X, s, t), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(field.jump(field.jump(X, s, u), u, t), there, rtol=1e-9, atol=1e-9)
    assert torch.equal(field.jump(X, s, s), field.from_angle(field.to_angle(X, s), s))
    torch.testing.assert_close(field.jump(X, s, s), X)


def test_rows_have_times_of_their_own():
    field = GaussianMap(VP())
    s, t = torch.linspace(0.9, 0.5, 5), torch.linspace(0.4, 0.1, 5)
    rows = [field.jump(X[i : i + 1], float(s[i]), float(t[i])) for i in range(5)]
    torch.testing.assert_close(field.jump(X, s, t), torch.cat(rows), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_the_diagonal_is_the_exact_field(schedule):
    field = GaussianMap(schedule)
    for t in times(field):
        for own, exact in zip(field.posterior(X, t), field.inner.posterior(X, t), strict=True):
            torch.testing.assert_close(own, exact, rtol=1e-6, atol=1e-6)
    assert len(check_field(field)) == len(CHECKS)
    nats = [log_prob(f, X, solver="rk4", steps=8).nats for f in (field, field.inner)]
    torch.testing.assert_close(*nats, rtol=1e-5, atol=1e-5)


def test_samples_are_those_of_many_steps_and_are_counted():
    field = GaussianMap()
    exact = sample(field.inner, 50, nfe=400, seed=3).x
    for nfe in (1, 2, 4, 7):
        drawn = sample(field, 50, nfe=nfe, seed=3)
        assert (drawn.nfe, drawn.network_calls, drawn.final) == (nfe, nfe, "denoise")
        torch.testing.assert_close(drawn.x, exact, rtol=1e-3, atol=1e-3)
    assert sample(field, 2, seed=3).nfe == 1
    assert sample(field.sampled_with(4), 2, seed=3).nfe == 4
    kept = sample(field, 50, steps=3, seed=3, final="none")
    assert kept.nfe == 3
    torch.testing.assert_close(kept.x, exact, rtol=0.02, atol=0.02)


def test_its_grid_is_uniform_in_the_angle():
    field = GaussianMap(VP(), evaluations=4)
    for steps in (grid(field, 4, "own"), grid(field, 4, "theta")):
        gaps = field.angle(steps, X).diff()
        torch.testing.assert_close(gaps, gaps[:1].expand(4), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("clock", ["theta", "rho", VP()])
def test_one_map_serves_every_schedule(clock):
    field = GaussianMap()
    moved = rescheduled(field, clock)
    for how in ({}, {"nfe": 2}, {"steps": 2, "final": "none"}):
        one, two = (sample(f, 6, seed=2, **how) for f in (field, moved))
        assert one.nfe == two.nfe
        torch.testing.assert_close(two.x, one.x, rtol=1e-5, atol=1e-5)


def test_the_solver_refuses_what_is_no_map():
    field = Mixture(torch.ones(1), torch.zeros(1, 2), torch.ones(1), VP())
    with pytest.raises(TypeError, match="jump needs a FlowMap, but Mixture is none; distil one"):
        sample(field, 3, "jump")
    with pytest.raises(TypeError, match="jump needs a FlowMap, but ClassifierFree is none"):
        sample(ClassifierFree(GaussianMap(), 2.0), 3)


def test_other_solvers_move_it_by_its_diagonal():
    field = GaussianMap()
    for name in ("heun", "ddim", "trig"):
        one, two = (sample(f, 4, name, nfe=12, seed=1).x for f in (field, field.inner))
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------------------- of networks


@pytest.mark.parametrize("of", ["edm", "vp", "rectified", "ddpm", "pfgmpp", "poisson"])
def test_a_map_has_the_start_and_the_law_of_its_field(of):
    made, field = build("flowmap", (2,), of=of, width=8, depth=1).field, build(of, (2,)).field
    one, two = made.start(4, Rng(2)), field.start(4, Rng(2))
    assert torch.equal(one.x, two.x) and made.span == field.span
    q = [start.field.latent(start.x).q for start in (one, two)]
    assert (q[0] is None) == (q[1] is None) == (of != "poisson")
    drawn = sample(made, 4, seed=2)
    assert drawn.nfe == 1 and (drawn.q is not None) == (of == "poisson")
    torch.testing.assert_close(sample(made, 4, seed=2, batch=3).x, drawn.x)


def test_a_poisson_map_wants_its_q():
    field = build("flowmap", (2,), of="poisson", width=8, depth=1).field
    start = field.start(4, Rng(0))
    assert start.field.jump(start.x, 80.0, 1.0).shape == (4, 2)
    part = start.field.rows(torch.tensor([2, 0]))
    torch.testing.assert_close(
        part.jump(start.x[[2, 0]], 80.0, 1.0), start.field.jump(start.x, 80.0, 1.0)[[2, 0]]
    )
    with pytest.raises(ValueError, match="without their q"):
        field.velocity(start.x, 1.0)
    with pytest.raises(ValueError, match="got 2 rows for a field bound to 4"):
        start.field.jump(start.x[:2], 80.0, 1.0)
    with pytest.raises(ValueError, match="without their q"):
        log_prob(field, start.x.double(), solver="rk4", steps=2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"of": "gan"}, "got of=gan, which is no path"),
        ({"of": "edm", "settings": "[]"}, "wanted a JSON object"),
        ({"of": "edm", "settings": '{"sigma": 1}'}, "has no option 'sigma'"),
        ({"of": "nothing"}, "no field named 'nothing'"),
        ({"evaluations": 0}, "evaluations"),
    ],
)
def test_what_is_no_map_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        build("flowmap", (2,), width=8, depth=1, **options)


def test_a_consistency_model_goes_to_the_data_alone():
    field = build("flowmap", (2,), objective="consistency", width=8, depth=1).field
    assert sample(field, 3).nfe == 1 and sample(field, 3, "heun", steps=2).nfe == 5
    for how in ({"nfe": 2}, {"final": "none"}):
        with pytest.raises(ValueError, match="ends before the data for a consistency model"):
            sample(field, 3, **how)
    with pytest.raises(ValueError, match="got evaluations=2 for a consistency model"):
        build("flowmap", (2,), objective="consistency", evaluations=2)


def test_guidance_of_a_map_is_by_its_diagonal():
    field = build("flowmap", (2,), 3, width=8, depth=1).field
    guided = classifier_free(field, 2.0)
    assert sample(guided, 3, "heun", steps=2, y=1).network_calls > 4


def test_the_solver_is_named():
    assert repr(get_solver("jump")) == "jump"
