"""Fitted grids: better on held-out flows, refused for another field, kept as JSON."""

import json
import math

import pytest
import torch

from diffode.fields import VP, Field, Karras, Mixture, PoissonField
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.sampling.drawing import sample
from diffode.solvers import fitting, get_solver, grid
from diffode.solvers.fitted import probe_of, read_grid
from diffode.solvers.fitting import fit_grid


def ring(schedule, noise=None, radius=2.0):
    """Five narrow Gaussians on a circle."""
    angle = 2 * math.pi * torch.arange(5, dtype=torch.float64) / 5
    means = radius * torch.stack([angle.cos(), angle.sin()], 1)
    weights, stds = torch.ones(5).double(), torch.full((5,), 0.15).double()
    return Mixture(weights, means, stds, schedule, noise)


@pytest.fixture(scope="module")
def fitted():
    return fit_grid(ring(Karras()), steps=8, pilot=256, rounds=25)


def error(field, solver, times, seed=11):
    """The distance of fresh flows to their ends that one in ten exceeds."""
    x = field.start(128, Rng(seed)).x.double()
    end = get_solver("trig")(field, x, grid(field, 400, "f1.5")).x
    return float((solver(field, x, times).x - end).norm(dim=1).quantile(0.9))


def test_a_fitted_grid_is_better_on_fresh_flows(fitted):
    field, solver = ring(Karras()), fitted.make_solver()
    times = torch.tensor(fitted.times, dtype=torch.float64)
    assert fitted.after < 0.8 * fitted.before
    own = error(field, solver, grid(field, 8, "f1.5"))
    assert error(field, solver, times) < 0.8 * own


def test_its_times_are_a_grid(fitted):
    times = torch.tensor(fitted.times)
    assert (float(times[0]), float(times[-1])) == pytest.approx((80.0, 0.002))
    assert len(times) == 9 and bool((times.diff() < 0).all())


def test_it_is_kept_as_json_and_sampled_with(fitted, tmp_path):
    path = fitted.save(tmp_path / "grid.json")
    assert read_grid(path) == fitted
    field = ring(Karras())
    by_file, by_object = sample(field, 8, grid=str(path)), sample(field, 8, grid=fitted)
    assert torch.equal(by_file.x, by_object.x) and by_file.nfe == 8
    assert by_file.times.tolist() == fitted.times
    assert not torch.equal(by_file.x, sample(field, 8, steps=8).x)


def test_another_field_is_refused(fitted):
    for other in (ring(Karras(), radius=2.2), ring(Karras(0.002, 70.0)), ring(VP())):
        with pytest.raises(ValueError, match="this grid was fitted to another field"):
            sample(other, 2, grid=fitted)


def test_what_does_not_go_with_a_fitted_grid_is_refused(fitted):
    field = ring(Karras())
    with pytest.raises(ValueError, match=r"fitted for trig, .* leave out the solver"):
        sample(field, 2, "heun", grid=fitted)
    with pytest.raises(ValueError, match="this grid has 8 steps; leave out nfe and steps"):
        sample(field, 2, steps=7, grid=fitted)
    with pytest.raises(ValueError, match="this grid has 8 steps"):
        sample(field, 2, nfe=5, grid=fitted)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "grid.json"
    good = {"times": [3.0, 2.0, 1.0], "solver": "trig", "before": 1.0, "after": 1.0}
    good |= {"probe": [1.0, 2.0, 3.0]}
    path.write_text(json.dumps(good))
    assert read_grid(path).times == good["times"]
    odd = [
        {"times": []},
        {"times": [1.0]},
        {"times": [3.0, 2.0, 2.5]},
        {"times": [3.0, float("nan"), 1.0]},
        {"scales": [[1.0]]},
        {"probe": []},
        {"probe": [1.0, 2.0, float("inf")]},
        {"solver": 5},
    ]
    texts = [json.dumps(good | change) for change in odd] + ["[" * 10**5, "7", "null"]
    for text in ("{", json.dumps({"times": [1.0]}), json.dumps({"format": "other"}), *texts):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"is no fitted grid: .*; make one with diffode fit"):
            read_grid(path)


def test_weights_help_or_are_left_out():
    field = ring(Karras())
    plain = fit_grid(field, steps=5, pilot=64, rounds=10)
    both = fit_grid(field, steps=5, pilot=64, rounds=10, weights=True)
    assert both.scales is not None and both.after < plain.after
    assert len(both.scales) == 5
    x = sample(field, 4, grid=both)
    assert x.nfe == 5 and bool(x.x.isfinite().all())


def test_weights_that_overfit_are_undone_with_a_warning(monkeypatch):
    """Such weights as a fit to too few pilots may leave: a quarter too large."""
    worse = [[1.25] * 2 for _ in range(5)]
    monkeypatch.setattr(fitting._Task, "fit_scales", lambda *_: worse)
    with pytest.warns(UserWarning, match="they overfit, and are left out; give more pilots"):
        fitted = fit_grid(ring(Karras()), steps=5, pilot=32, rounds=3, weights=True)
    assert fitted.scales is None and fitted.after <= fitted.before


def test_a_poisson_flow_can_be_fitted():
    field = PoissonField(ring(Karras(), StudentT(4.0)))
    fitted = fit_grid(field, steps=4, pilot=32, rounds=4)
    assert fitted.after <= fitted.before
    assert sample(field, 3, grid=fitted).nfe == 4


def test_any_solver_of_fixed_steps_can_be_fitted():
    field = ring(VP())
    fitted = fit_grid(field, "heun", steps=5, pilot=64, rounds=8)
    assert fitted.solver == "heun" and fitted.after < fitted.before


class Still(Field):
    span, prior, event_shape = (0.0, 1.0), Normal(), (2,)

    def velocity(self, x, t, y=None):
        return 0 * x


def test_refusals():
    field = ring(VP())
    with pytest.raises(TypeError, match="Still has no schedule to place times on"):
        fit_grid(Still())
    with pytest.raises(ValueError, match="dopri5 chooses its own steps"):
        fit_grid(field, "dopri5")
    with pytest.raises(TypeError, match="heun has no weights to fit"):
        fit_grid(field, "heun", weights=True)
    with pytest.raises(ValueError, match="got steps=1, pilot=512; wanted at least 2 and 8"):
        fit_grid(field, steps=1)


def test_the_fingerprint_is_the_fields_own():
    a, b = probe_of(ring(VP())), probe_of(ring(VP()))
    assert a == b and len(a) == 3 and min(a) > 0
