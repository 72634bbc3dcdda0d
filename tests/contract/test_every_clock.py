"""A public function gives the same answer for a field on another clock as for the field."""

import pytest
import torch

from diffode import decode, encode, log_prob, recipes, sample
from diffode.data.scaling import Scaling
from diffode.data.stats import data_stats
from diffode.doors import needs_labels
from diffode.fields import VP, AffineField, Cosine, Karras, Mixture, Rectified, rescheduled
from diffode.rng import Rng
from diffode.runs.building import build
from diffode.sampling import edit, interpolate, round_trip
from tests.quick import quick

CLOCKS = ["rho", "logsnr", "inverse", "theta"]
COLUMNS = Scaling("standard", torch.tensor([10.0, -3.0]), torch.tensor([2.0, 0.5]))
FINE = {"solver": "dopri5", "rtol": 1e-7, "atol": 1e-7}
MEANS = torch.tensor([[3.0, 1.0], [5.0, 2.0], [4.0, -1.0]])
X = torch.tensor([[3.2, 1.1], [4.5, 1.5]], dtype=torch.float64)


def on(clock, schedule, scaling=None):
    """A mixture off the origin, the same on another clock, and two points of its data."""
    field = Mixture(torch.ones(3), MEANS, torch.tensor([0.3, 0.5, 0.4]), schedule)
    field.scaling = scaling
    return field, rescheduled(field, clock), X if scaling is None else scaling.to_data(X)


ANSWERS = {
    "samples": lambda f, x: sample(f, 4, **FINE).x,
    "samples before the last denoising": lambda f, x: sample(f, 4, final="none", **FINE).x,
    "ends of paths": lambda f, x: sample(f, 4, path=True, final="none", **FINE).path[-1],
    "decoded": lambda f, x: decode(f, f.prior.sample((4, 2), Rng(1)), final="denoise", **FINE).x,
    "brought back": lambda f, x: decode(f, encode(f, x, **FINE).x, **FINE).x,
    "errors of the way back": lambda f, x: round_trip(f, x, **FINE) < 1e-3,
    "densities": lambda f, x: log_prob(f, x).nats,
    "densities in its own time": lambda f, x: log_prob(f, x, clock="native").nats,
    "estimated densities": lambda f, x: log_prob(f, x, "hutchinson", probes=1).nats,
    "edited": lambda f, x: edit(f, x, 0.6, **FINE).x,
    "edited by the flow": lambda f, x: edit(f, x, 0.6, deterministic=True, **FINE).x,
    "on the way": lambda f, x: interpolate(f, x[:1], x[1:], 3, **FINE).x,
}
CASES = [(a, c, s) for a in ANSWERS for c in CLOCKS for s in (None, COLUMNS)]


@pytest.mark.parametrize(
    ("answer", "clock", "scaling"),
    quick(CASES, *(k for k, case in enumerate(CASES) if case[1] in ("theta", "inverse"))),
)
def test_it_is_that_of_the_field(answer, clock, scaling):
    field, moved, x = on(clock, VP(), scaling)
    want = ANSWERS[answer](field, x)
    torch.testing.assert_close(ANSWERS[answer](moved, x), want, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("schedule", [Karras(), VP(), Cosine(), Rectified()], ids=repr)
@pytest.mark.parametrize("scaling", [None, COLUMNS])
def test_states_come_from_data_and_go_back_on_every_schedule(schedule, scaling):
    """And the state's volume for one of the data is that of the map."""
    field, moved, x = on("theta", schedule, scaling)
    state = moved.from_data(x)
    torch.testing.assert_close(state, moved.to_state(field.from_data(x), field.span[1]))
    torch.testing.assert_close(moved.to_data(state, moved.span[1]), x)
    jacobian = torch.func.jacrev(lambda v: moved.from_data(v[None])[0])(x[0])
    assert moved.log_volume == pytest.approx(float(jacobian.det().log()), rel=1e-9)


def test_units_are_set_for_the_field_inside():
    field, moved, _ = on("theta", VP(), COLUMNS)
    with pytest.raises(ValueError, match="on a clock about the mean"):
        moved.scaling = moved.scaling
    assert field.scaling is COLUMNS


AFFINE = [
    name
    for name in recipes.names()
    if isinstance(build(name, (2,), 2, width=8, depth=1).field, AffineField)
]


@pytest.mark.parametrize("name", quick(AFFINE, 0, 1))
@pytest.mark.parametrize("scaling", [None, COLUMNS])
def test_every_affine_recipe_draws_the_same_on_the_centred_clock(name, scaling):
    stats = data_stats(MEANS)
    field = build(name, (2,), 2, stats, width=8, depth=1, scaling=scaling).field
    y = 0 if needs_labels(field) else None
    if field.decay is not None:
        with pytest.raises(TypeError, match=r"no one size .* use clock='native'"):
            rescheduled(field, "theta")
        return
    want, got = (
        sample(f, 4, "dopri5", y=y, rtol=1e-6, atol=1e-6).x
        for f in (field, rescheduled(field, "theta"))
    )
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("clock", CLOCKS)
def test_rows_that_stopped_on_the_way_are_in_the_units_of_the_data_too(clock):
    field, moved, _ = on(clock, Karras(), COLUMNS)
    want, got = (sample(f, 4, "dopri5-rows", max_nfe=30, clock="theta") for f in (field, moved))
    assert bool((want.status != 0).all()) and torch.equal(got.status, want.status)
    torch.testing.assert_close(got.x, want.x, rtol=1e-3, atol=1e-3)
