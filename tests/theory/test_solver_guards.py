"""What solvers promise: ends exact, evaluations counted, the span kept, types kept, refusals."""

import math

import pytest
import torch

from diffode.doors import as_labels
from diffode.fields import VP, Field, Karras, Mixture, Rectified
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.sampling import encode, sample
from diffode.solvers import get_solver, grid
from diffode.solvers.ddim import DDIM
from tests.quick import quick
from tests.wrappers import FLOWS

ADAPTIVE = ["dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun", "scipy_solver"]
TOGETHER = [name for name in FLOWS if not name.endswith("-rows")]
STEPPING = [name for name in TOGETHER if name not in ADAPTIVE]
BUDGETED = [name for name in STEPPING if name != "implicit_adams"]
COST = {"heun": 2, "ddim": 1, "euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


class Spy(Mixture):
    """A mixture that notes the times and labels it is asked at."""

    def __init__(self, schedule, noise=None, std=0.6, spread=1.0):
        means = spread * tensor([1.0, 0.0], [-1.0, 1.0])
        super().__init__(tensor(0.6, 0.4), means, tensor(std, std), schedule, noise)
        self.asked = []

    def as_labels(self, y, rows):
        return as_labels(y, rows)

    def posterior(self, x, t, y=None):
        self.asked.append((float(t), y))
        return super().posterior(x, t)


class Plain(Field):
    """Rigid rotation, velocity only; its span is open at the end to those who look beyond it."""

    span, prior, event_shape = (0.0, math.pi), Normal(), (2,)

    def velocity(self, x, t, y=None):
        if not 0 <= float(t) <= math.pi:
            return torch.full_like(x, math.nan)
        return x.flip(-1) * x.new_tensor([-1.0, 1.0])


def solver_for(name):
    return get_solver(name, **({"rtol": 1e-3, "atol": 1e-3} if name in ADAPTIVE else {}))


def solve(name, field, steps=16, **keywords):
    x = field.prior.sample((3, 2), Rng(1), dtype=torch.float64)
    return solver_for(name)(field, x, grid(field, steps), **keywords)


# ---------------------------------------------------------------------------- ends and evaluations


@pytest.mark.parametrize("name", TOGETHER)
def test_times_and_evaluations_are_those_of_the_solution(name):
    field = Spy(Rectified())
    solution = solve(name, field, path=True)
    assert solution.nfe == len(field.asked) > 0
    assert solution.nfe_per_row.tolist() == [solution.nfe] * 3
    assert solution.t_end == field.span[1] and solution.times[0] == field.span[0]
    assert solution.path.shape == (17, 3, 2) and torch.equal(solution.path[-1], solution.x)
    assert solution.status.tolist() == [0, 0, 0] and solution.final == "none"
    assert field.asked[0][0] == field.span[0]
    again = solve(name, field)
    assert again.path is None and torch.equal(again.x, solution.x)


@pytest.mark.parametrize("name", COST)
def test_a_step_costs_what_it_says(name):
    solver = get_solver(name)
    assert solver.nfe_per_step == COST[name]
    assert solve(name, Spy(Rectified())).nfe == 16 * COST[name]


@pytest.mark.parametrize("nfe", quick([1, 2, 5, 10, 13], 0, 3))
@pytest.mark.parametrize("name", BUDGETED)
def test_a_budget_is_kept_and_used(name, nfe):
    """The final denoising is one of the evaluations; what is left does not pay for a step more."""
    field, solver = Spy(Karras()), get_solver(name)
    for final, spare in (("denoise", 0 if solver.reaches_zero_noise else 1), ("none", 0)):
        field.asked.clear()
        if solver.steps(nfe - spare) < 1:
            with pytest.raises(ValueError, match=rf"nfe={nfe} does not pay for one step of"):
                sample(field, 2, name, nfe=nfe, final=final)
            continue
        solution = sample(field, 2, name, nfe=nfe, final=final)
        assert solution.nfe == len(field.asked) <= nfe
        more = sample(field, 2, name, steps=len(solution.times), final=final)
        assert more.nfe > nfe


def test_the_default_is_thirty_five_evaluations():
    solution = sample(Spy(Karras()), 2)
    assert solution.nfe == 35 and len(solution.times) == 36 and solution.final == "denoise"
    solution = sample(Spy(Karras()), 2, "heun")
    assert solution.nfe == 35 and len(solution.times) == 18 and solution.final == "denoise"


def test_the_last_evaluation_is_the_conditional_mean():
    field = Spy(Karras(0.5, 80.0))
    raw, final = (sample(field, 4, "heun", steps=10, final=f) for f in ("none", "denoise"))
    torch.testing.assert_close(final.x, field.denoise(raw.x, 0.5))
    assert final.nfe == raw.nfe + 1 and (raw.final, final.final) == ("none", "denoise")


# ------------------------------------------------------------------------------- adaptive methods


@pytest.mark.parametrize("schedule", [VP(), Karras(), Rectified()], ids=repr)
@pytest.mark.parametrize(("std", "spread"), [(0.01, 1.0), (0.6, 1.0), (1.0, 0.1), (1.0, 0.01)])
@pytest.mark.parametrize("name", ADAPTIVE)
def test_no_evaluation_lies_outside_the_span(name, std, spread, schedule):
    """Not at a stiff end, and not where a field that hardly moves invites a large first step."""
    field = Spy(schedule, std=std, spread=spread)
    x = field.prior.sample((3, 2), Rng(2), dtype=torch.float64)
    solution = solver_for(name)(field, x, tensor(*schedule.span))
    times = [t for t, _ in field.asked]
    ulp = 1e-12  # times go through a clock and back
    assert min(times) >= schedule.span[1] * (1 - ulp) and max(times) <= schedule.span[0] * (
        1 + ulp
    )
    assert solution.x.isfinite().all()


@pytest.mark.parametrize("steps", [1, 20, 40, 80])
@pytest.mark.parametrize("name", ADAPTIVE)
def test_every_reported_time_is_a_step(name, steps):
    """Uniform times, on which natural steps happen to land; beyond the end the field is NaN."""
    field, x = Plain(), tensor([1.0, 2.0])
    solution = get_solver(name, rtol=1e-5, atol=1e-5)(field, x, grid(field, steps), path=True)
    t = solution.times
    turned = torch.stack((t.cos() - 2 * t.sin(), t.sin() + 2 * t.cos()), 1)
    assert (solution.path[:, 0] - turned).abs().max() < (0.01 if name == "fehlberg2" else 1e-3)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_a_velocity_that_is_not_finite_stops_with_advice(name):
    class Broken(Plain):
        def velocity(self, x, t, y=None):
            return x * (1.0 if float(t) < 1 else math.nan)

    with pytest.raises(ValueError, match=rf"{name} stopped: .*loosen them, or use heun"):
        get_solver(name)(Broken(), tensor([1.0, 2.0]), tensor(0.0, 2.0))


# -------------------------------------------------------------------------- types, labels, batches


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", TOGETHER)
def test_the_state_keeps_its_type(name, dtype):
    field = Spy(Rectified())
    x = field.prior.sample((3, 2), Rng(3), dtype=dtype)
    solver, times = solver_for(name), grid(field, 16)
    end = solver(field, x, times).x
    assert end.dtype == dtype and end.isfinite().all()
    wide = solver(field, x.double(), times).x
    torch.testing.assert_close(end.double(), wide, rtol=0, atol=1e-2)


@pytest.mark.parametrize("name", TOGETHER)
def test_labels_reach_the_field(name):
    field, y = Spy(Rectified()), torch.tensor([3, 1, 2])
    solve(name, field, y=y)
    assert all(torch.equal(seen, y) for _, seen in field.asked)


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize(
    ("name", "options"), [("heun", {}), ("ddim", {}), ("ddim", {"eta": 1.0}), ("euler", {})]
)
def test_a_seed_fixes_a_sample_and_not_its_batch(name, options, batch):
    field = Spy(VP())
    whole = sample(field, 12, name, steps=6, seed=5, **options)
    parts = sample(field, 12, name, steps=6, seed=5, batch=batch, path=True, **options)
    torch.testing.assert_close(parts.x, whole.x, rtol=1e-5, atol=1e-5)
    assert parts.nfe == whole.nfe and parts.path.shape == (7, 12, 2)
    fewer = sample(field, 5, name, steps=6, seed=5, **options)
    torch.testing.assert_close(fewer.x, whole.x[:5], rtol=1e-5, atol=1e-5)
    assert (sample(field, 12, name, steps=6, seed=6, **options).x - whole.x).abs().min() > 1e-6


def test_labels_are_split_with_the_batch():
    field, y = Spy(VP()), torch.arange(5)
    sample(field, 5, "euler", steps=1, y=y, batch=3)
    assert [seen.tolist() for _, seen in field.asked[::2]] == [[0, 1, 2], [3, 4]]


def test_fresh_noise_differs_at_every_step():
    """With eta = 1 and no drift, equal increments would betray a reused draw."""
    field = Mixture(tensor(1.0), tensor([0.0]), tensor(1e-3), Karras(0.01, 1.0))
    x = field.prior.sample((2000, 1), Rng(9), dtype=torch.float64)
    path = DDIM(eta=1.0)(field, x, grid(field, 6, "logsnr"), rng=Rng(9), path=True).path
    increments = path.squeeze(2).diff(dim=0)
    assert (torch.corrcoef(increments) - torch.eye(6)).abs().max() < 0.6


# ----------------------------------------------------------------------------------------- errors


def test_an_unknown_solver_or_option_is_refused_by_name():
    with pytest.raises(
        ValueError, match=r"no solver named 'hein'; did you mean 'heun'\? solvers: "
    ):
        get_solver("hein")
    with pytest.raises(ValueError, match="solver 'heun' has no option 'eta'; options: clock"):
        get_solver("heun", eta=1.0)
    with pytest.raises(ValueError, match=r"'ddim' has no option 'rtol'; options: eta"):
        get_solver("ddim", rtol=1e-3)
    with pytest.raises(ValueError, match="input should be greater than 0"):
        get_solver("dopri5", rtol=0.0)
    for eta in (-0.1, 1.5):
        with pytest.raises(ValueError, match=rf"got eta {eta}; wanted a number from 0 to 1"):
            get_solver("ddim", eta=eta)


def test_a_field_without_a_path_is_refused_by_ddim():
    with pytest.raises(TypeError, match=r"ddim needs an AffineField .* Plain only states a velo"):
        solve("ddim", Plain())
    with pytest.raises(TypeError, match="Plain states no"):
        sample(Plain(), 2, final="denoise")
    assert sample(Plain(), 2, steps=4).final == "none"


def test_fresh_noise_on_student_t_fields_is_refused():
    field = Spy(Karras(), StudentT(3.0))
    with pytest.raises(TypeError, match=r"adds normal noise, but .*StudentT\(dof=3\); use eta=0"):
        sample(field, 2, "ddim", eta=0.5)
    assert sample(field, 2, "ddim", nfe=4).x.isfinite().all()


@pytest.mark.parametrize("times", [[1.0], [0.0, 1.0, 1.0], [0.0, 2.0, 1.0], [], [[0.0, 1.0]]])
def test_times_must_be_monotone(times):
    with pytest.raises(ValueError, match="at least two, strictly increasing or decreasing"):
        get_solver("heun")(Plain(), torch.zeros(1, 2), torch.tensor(times))


@pytest.mark.parametrize("name", ["explicit_adams", "implicit_adams"])
def test_adams_methods_want_equal_steps(name):
    with pytest.raises(ValueError, match=f"{name} assumes equal steps; use grid 'native'"):
        sample(Spy(Karras()), 2, name, steps=6, grid="karras")


@pytest.mark.parametrize(
    ("message", "keywords"),
    [
        ("got nfe=4 and steps=2; give one", {"nfe": 4, "steps": 2}),
        ("got n=0", {"n": 0}),
        ("batch=0; wanted 1 or more", {"batch": 0}),
        ("got 3 points and 2 labels", {"y": torch.zeros(2)}),
        ("dopri5 chooses its own steps", {"solver": "dopri5", "nfe": 9}),
        ("implicit_adams iterates", {"solver": "implicit_adams", "nfe": 9}),
        ("options go with a solver's name", {"solver": DDIM(), "eta": 1.0}),
    ],
)
def test_counts_that_do_not_fit_are_refused(message, keywords):
    with pytest.raises(ValueError, match=message):
        sample(Spy(VP()), **{"n": 3, **keywords})


def test_encoding_refuses_another_shape_and_labels_that_do_not_fit():
    with pytest.raises(ValueError, match=r"got x of shape \(4, 3\); wanted \(B, 2\)"):
        encode(Spy(VP()), torch.zeros(4, 3))
    with pytest.raises(ValueError, match="got 4 points and 3 labels; pass one label per point"):
        encode(Spy(VP()), torch.zeros(4, 2), y=torch.zeros(3), steps=2)
