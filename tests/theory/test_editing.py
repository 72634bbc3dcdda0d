"""Points changed by noise and the flow back, or by the flow alone."""

import math
import re

import pytest
import torch

from diffode.data.scaling import Scaling
from diffode.fields import VP, Cosine, Karras, Mixture, PoissonField, Rectified
from diffode.fields.guidance import classifier_free
from diffode.priors import StudentT
from diffode.rng import Rng
from diffode.sampling import decode, edit, encode, interpolate, round_trip, sample, time_at
from diffode.sampling.choosing import times_for
from diffode.solvers import get_solver
from tests.fields import Point
from tests.wrappers import FLOWS

WEIGHTS, STDS = torch.tensor([0.2, 0.5, 0.3]), torch.full((3,), 0.3)
MEANS = torch.tensor([[-2.0, 1.0], [2.0, 1.0], [0.5, -2.0]])
LABELS = torch.tensor([0, 1, 1])
SCHEDULES = [Karras(), VP(), Cosine(), Rectified()]


def mixture(schedule=None, noise=None):
    return Mixture(WEIGHTS, MEANS, STDS, schedule or Karras(), noise, LABELS)


def poisson(dof):
    return PoissonField(mixture(noise=StudentT(dof)))


def energy(x, y):
    """Twice the mean distance between two samples, less that within each."""
    return float(
        2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean()
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_strength_is_the_angle_on_every_schedule(schedule):
    field = mixture(schedule)
    std = field.moments[1]
    for strength in (0.25, 0.5, 0.9):
        t = torch.tensor(time_at(field, strength)).double()
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        noise = sigma**2 / (sigma**2 + (alpha * std) ** 2)  # share of the variance of x_t
        assert noise == pytest.approx(math.sin(math.pi / 2 * strength) ** 2, abs=0.03)
    assert time_at(field, 1) == field.span[0]
    assert time_at(field, 1e-6) == pytest.approx(field.span[1], rel=0.01)


@pytest.mark.parametrize("field", [mixture(), mixture(VP()), poisson(1.0), poisson(128.0)])
def test_the_whole_strength_is_a_plain_sample(field):
    x = torch.zeros(4, 2)
    edited, plain = edit(field, x, 1, 1, nfe=9, seed=3), sample(field, 4, nfe=9, seed=3, y=1)
    assert torch.equal(edited.x, plain.x) and edited.nfe == plain.nfe


@pytest.mark.parametrize("field", [mixture(), mixture(Rectified()), poisson(128.0)])
def test_next_to_no_strength_gives_the_points_back(field):
    x = MEANS + 0.2
    near, far = ((edit(field, x, s, final="none").x - x).norm(dim=1).max() for s in (1e-3, 0.5))
    assert near < 0.02 < 0.2 < far


@pytest.mark.parametrize("strength", [0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    "field", [mixture(), mixture(Rectified()), poisson(1.0), poisson(3.0), poisson(128.0)]
)
def test_edited_data_are_data(field, strength):
    """If x has the law of the data, so has what becomes of it, whatever was kept of it."""
    law = field if isinstance(field, Mixture) else field.inner
    x, other, more = (law.sample(1000, Rng(seed)) for seed in (0, 1, 2))
    found = edit(field, x, strength, solver="dopri5-rows", rtol=1e-3, atol=1e-3)
    floor = energy(other, more)
    assert energy(found.x, other) < floor + 0.01
    assert energy(other, other + 0.2) > 0.04  # that much would be seen
    kept = torch.corrcoef(torch.stack((x.flatten(), found.x.flatten())))[0, 1]
    assert float(kept) > 0.3 if strength < 0.5 else float(kept) < 0.95


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_one_gaussian_to_another_is_a_line(schedule, deterministic):
    """The flow of N(m, s^2) keeps (x - alpha m) / sqrt(alpha^2 s^2 + sigma^2) at all times."""
    means, std = torch.tensor([[-2.0, 1.0], [2.0, 0.5]]), 0.3
    field = Mixture(torch.ones(2), means, torch.full((2,), std), schedule, labels=torch.arange(2))
    x = means[:1] + 0.3 * torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    x = x.double()
    told = {"y": 1, "y_source": 0, "deterministic": True, "solver": "dopri5", "rtol": 1e-9}
    noisy = {"y": 1, "solver": "dopri5", "rtol": 1e-9, "final": "none"}
    found = edit(field, x, 0.6, **(told if deterministic else noisy), atol=1e-9)
    alpha, sigma = field.level(time_at(field, 0.6), x)
    alpha_1, sigma_1 = field.level(field.span[1], x)
    width = (torch.hypot(alpha * std, sigma) / torch.hypot(alpha_1 * std, sigma_1)).double()
    if deterministic:
        middle = alpha * means[0] + width * (x - alpha_1 * means[0])
    else:
        middle = field.corrupt(x, time_at(field, 0.6), Rng(0).rows(torch.arange(6)))[0]
    expected = alpha_1 * means[1] + (middle - alpha * means[1]) / width
    torch.testing.assert_close(found.x, expected, atol=1e-5, rtol=0)


def test_the_same_labels_give_the_points_back_and_other_labels_others():
    field = mixture()
    x = field.sample(20, Rng(0), torch.zeros(20, dtype=torch.long)).double()
    same = edit(field, x, 0.7, 0, deterministic=True, y_source=0)
    torch.testing.assert_close(same.x, x, atol=1e-4, rtol=0)
    other = edit(field, x, 0.7, 1, deterministic=True, y_source=0)
    assert bool((torch.cdist(other.x, MEANS.double()).argmin(1) > 0).all())
    there = encode(field, x, y=0, at=time_at(field, 0.7))
    back = decode(field, there.x, y=1, at=time_at(field, 0.7))
    torch.testing.assert_close(other.x, back.x)
    assert other.nfe == there.nfe + back.nfe


def test_no_time_outside_of_the_rest_of_the_way_is_asked_for():
    seen = []

    class Watched(Mixture):
        def posterior(self, x, t, y=None):
            seen.append(torch.as_tensor(t).double().flatten())
            return super().posterior(x, t, y)

    field = Watched(WEIGHTS, MEANS, STDS, VP())
    for solver in ("trig", "dpm++", "unipc", "heun", "ddim", "dopri5", "dopri5-rows", "ancestral"):
        seen.clear()
        given = {} if solver.startswith("dopri5") else {"nfe": 11}
        found = edit(field, MEANS, 0.4, solver=solver, **given)
        times = torch.cat(seen)
        assert float(times.max()) <= time_at(field, 0.4) + 1e-9
        assert float(times.min()) >= field.span[1] - 1e-9
        assert not given or 9 <= found.nfe <= 11
        assert found.x.isfinite().all()


@pytest.mark.parametrize("solver", ["trig", "ancestral", "dopri5-rows"])
def test_a_row_is_its_own_whatever_the_batch(solver):
    field, x = mixture(), MEANS.repeat(2, 1)
    given = {"solver": solver} if solver == "dopri5-rows" else {"solver": solver, "nfe": 9}
    whole = edit(field, x, 0.5, 1, seed=4, **given)
    parts = edit(field, x, 0.5, 1, seed=4, batch=4, **given)
    rest = edit(field, x[2:], 0.5, 1, seed=4, first=2, **given)
    torch.testing.assert_close(whole.x, parts.x)
    torch.testing.assert_close(whole.x[2:], rest.x)
    assert (edit(field, x, 0.5, 1, seed=5, **given).x - whole.x).abs().max() > 0.1


def test_points_are_in_the_units_of_the_data():
    field = mixture()
    plain = edit(field, MEANS, 0.5, 1, nfe=9).x
    field.scaling = Scaling("standard", torch.tensor([10.0, -5.0]), torch.tensor([2.0, 4.0]))
    for given in ({"nfe": 9}, {"deterministic": True, "y_source": 0}):
        scaled = edit(field, field.scaling.to_data(MEANS), 0.5, 1, **given).x
        if "nfe" in given:
            torch.testing.assert_close(scaled, field.scaling.to_data(plain))
        assert (torch.cdist(field.scaling.to_model(scaled), MEANS).argmin(1) > 0).all()


@pytest.mark.parametrize("plain", [mixture(), poisson(128.0)])
def test_guided_fields_edit(plain):
    field = classifier_free(plain, 2.0)
    found = edit(field, MEANS, 0.7, 0, nfe=12)
    assert found.network_calls == 2 * found.nfe
    assert (torch.cdist(found.x, MEANS).argmin(1) == 0).all()
    back = edit(field, MEANS[:1], 0.7, 0, deterministic=True, y_source=0)
    torch.testing.assert_close(back.x, MEANS[:1], atol=1e-3, rtol=0)


def test_a_field_without_noise_is_encoded_only():
    field, x = Point(), torch.tensor([[0.5, 2.0]]).double()
    with pytest.raises(TypeError, match="states no noise to add"):
        edit(field, x, 0.5)
    assert time_at(field, 0.25) == 0.75
    back = edit(field, x, 0.5, deterministic=True)
    torch.testing.assert_close(back.x, x, atol=1e-5, rtol=0)


def test_latents_in_the_middle_of_the_way():
    field = mixture()
    x = field.sample(5, Rng(0)).double()
    there = encode(field, x, at=1.5)
    assert there.t_end == 1.5
    torch.testing.assert_close(decode(field, there.x, at=1.5).x, x, atol=1e-4, rtol=0)
    whole = encode(field, x)
    on = decode(field, whole.x).x
    torch.testing.assert_close(on, x, atol=1e-4, rtol=0)
    assert torch.equal(encode(field, x, at=80.0).x, whole.x)
    for t in (0.002, 81.0, math.nan, -1.0):
        with pytest.raises(ValueError, match="starts at t_prior = 80 or between"):
            encode(field, x, at=t)
    with pytest.raises(TypeError, match="got a time of type str"):
        decode(field, x, at="late")


@pytest.mark.parametrize("name", [*FLOWS, "ddim:eta"])
def test_what_a_solver_draws_does_not_come_back_and_all_else_does(name):
    """Told by the samples alone: other noise leads a solver that adds some elsewhere."""
    name, _, noisy = name.partition(":")
    options = {"eta": 0.5} if noisy else {}
    if get_solver(name).adaptive:
        options = {"rtol": 1e-3, "atol": 1e-3}
    field, solver = mixture(Rectified()), get_solver(name, **options)
    x = field.sample(4, Rng(0)).double()
    times = times_for(field, solver, None, 40, None, "none")
    ends = [solver(field, x, times, rng=Rng(seed)).x for seed in (1, 2)]
    if torch.equal(*ends):
        error = round_trip(
            field, x, name, **options, **({} if solver.adaptive else {"steps": 100})
        )
        assert float(error.max()) < 0.25  # of points that lie 4 apart, for methods of order 1
        return
    for refused in (
        lambda: encode(field, x, solver, steps=40),
        lambda: decode(field, x, name, steps=40, **options),
        lambda: edit(field, x, 0.5, solver=solver, steps=40, deterministic=True),
        lambda: interpolate(field, x, x, solver=solver, steps=40),
    ):
        with pytest.raises(ValueError, match=re.escape(f"{name} adds noise, so that no enc")):
            refused()


@pytest.mark.parametrize("schedule", [Karras(), VP(), Rectified()])
def test_a_strength_that_leaves_t_data_or_not_is_told_apart(schedule):
    """Rounding may put the time of next to no strength on the other side of t_data."""
    field = mixture(schedule)
    for strength in (1e-300, 1e-20, 1e-16):
        with pytest.raises(ValueError, match="too small to leave t_data"):
            time_at(field, strength)
    assert edit(field, MEANS, 1e-9).nfe == 35


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"strength": 0}, ValueError, "got strength 0; wanted a number above 0"),
        ({"strength": 1.5}, ValueError, "got strength 1.5"),
        ({"strength": math.nan}, ValueError, "got strength nan"),
        ({"strength": 1e-30}, ValueError, "too small to leave t_data"),
        ({"strength": "half"}, TypeError, "got a strength of type str"),
        ({"y": 3}, ValueError, "label 3 has no components"),
        ({"y_source": 0}, ValueError, "noise is the same for all"),
        ({"y": 0, "deterministic": True}, ValueError, "got y and no y_source; give both"),
        ({"y_source": 0, "deterministic": True}, ValueError, "got y_source and no y; give both"),
        ({"y_source": "all", "deterministic": True}, ValueError, "got y_source='all'; wanted"),
        ({"x": MEANS[:, :1]}, ValueError, "wanted \\(B, 2\\)"),
        ({"nfe": 2.5}, TypeError, "got nfe=2.5"),
        ({"nfe": 5, "steps": 5}, ValueError, "give one of the two"),
        ({"solver": "dopri5", "nfe": 5}, ValueError, "chooses its own steps"),
        ({"first": -1}, ValueError, "got first=-1"),
        ({"solver": "ancestral", "nfe": 5, "deterministic": True}, ValueError, "adds noise, so"),
        ({"final": "sharp"}, ValueError, "wanted 'none' or 'denoise'"),
        ({"field": poisson(1.0).bind(torch.ones(3))}, ValueError, "use its plane form"),
    ],
)
def test_what_cannot_be_edited_is_refused(given, kind, message):
    asked = {"field": mixture(), "x": MEANS, "strength": 0.5, **given}
    with pytest.raises(kind, match=message):
        edit(**asked)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scaling", [None, Scaling.pixels(-4, 4)], ids=["plain", "scaled"])
def test_points_in_half_precision_are_moved_in_single(kind, scaling):
    field = mixture()
    field.scaling = scaling
    x, ends = MEANS.to(kind), torch.tensor(field.span[::-1])
    for move in (
        lambda x: encode(field, x, nfe=20),
        lambda x: encode(field, x, y=1),
        lambda x: decode(field, 80 * x, "dopri5"),
        lambda x: edit(field, x, 0.5, nfe=8),
        lambda x: edit(field, x, 0.5, y=0, y_source=1, deterministic=True),
        lambda x: interpolate(field, x, x.flip(0), 3),
        lambda x: get_solver("dopri5-rows")(field, x, ends),
    ):
        half, whole = move(x), move(x.float())
        assert torch.equal(half.x, whole.x) and half.x.dtype == torch.float32
        assert half.nfe == whole.nfe
