"""A learned field with a factor for each frequency."""

import pytest
import torch

import diffode
from diffode.fields import VP, Heat, KarrasPrediction, Learned, Turned
from diffode.fields.precond import CoordinatePrediction
from diffode.priors import Normal
from diffode.rng import Rng
from diffode.runs.plan import Plan
from diffode.runs.run import execute
from diffode.training import data_stats
from diffode.training.batches import Batch

SHAPE = (1, 4, 4)


def made(blur_max, event=SHAPE, rows=6):
    """A learned field in pixels, and pixels x_0."""
    x0 = torch.randn(rows, *event, generator=torch.Generator().manual_seed(0)).double() + 1
    built = diffode.build("blur", event, stats=data_stats(x0.float()), blur_max=blur_max, width=16)
    with torch.no_grad():
        for k, p in enumerate(built.parameters()):
            p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(k))
    return built, x0


def test_without_blur_it_is_preconditioned_as_edm_is():
    built, x0 = made(0.0)
    core, decay = built.field.inner, built.field.decay
    mean = decay.from_basis(core.mean[None])[0]
    std = core.moments[1]
    plain = Learned(core.network, VP(), KarrasPrediction(std), Normal(), mean, std)
    for t in (0.4, torch.linspace(0.1, 0.9, 6).double()):
        x, n = plain.corrupt(x0, t, Rng(1))
        for a, b in zip(plain.posterior(x, t), built.field.posterior(x, t), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
        error, _ = plain.residual(x, x0, n, t)
        turned, _ = core.residual(*(decay.to_basis(v) for v in (x, x0, n)), t)
        torch.testing.assert_close(decay.from_basis(turned), error, atol=1e-5, rtol=1e-4)


def test_a_prediction_of_one_level_is_refused():
    core = made(2.0)[0].field.inner
    parts = core.schedule, KarrasPrediction(1.0), core.noise, core.mean, 1.0
    with pytest.raises(TypeError, match="use CoordinatePrediction"):
        Learned(core.network, *parts, decay=core.decay)


def test_an_answer_and_its_error_are_one():
    """Where the network's output is the target, the estimates are what x_t was made of."""
    for event in (SHAPE, (5,)):
        built, x0 = made(2.0, event)
        core, decay = built.field.inner, built.field.decay
        c0, t = decay.to_basis(x0), torch.linspace(0.05, 0.95, 6).double()
        c, n = core.corrupt(c0, t, Rng(1))
        error, o = core.residual(c, c0, n, t)
        right = o.out.double() - error.double()
        x0_found, n_found = core.prediction.decode(o.u, right, None, o.coefficients, o.sigma)
        torch.testing.assert_close(x0_found + core.mean.double(), c0, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(n_found, n, atol=1e-4, rtol=1e-3)


def test_the_scales_are_those_of_unit_variance():
    """For Gaussian data of the std s, input and target have unit variance at every frequency."""
    decay, s, t = Heat((6,), 2.0), 1.7, torch.tensor(0.3).double()
    alpha, sigma = decay.level(VP(), t)
    u = torch.zeros(1, 6).double()
    c = CoordinatePrediction(s).coefficients(u, alpha, sigma, t)
    total = (alpha * s).square() + sigma**2
    torch.testing.assert_close(c.in_.square() * total, torch.ones(1, 6).double())
    torch.testing.assert_close(alpha * c.skip + sigma * c.noise_skip, torch.ones(1, 6).double())
    torch.testing.assert_close(alpha * c.out + sigma * c.noise_out, u)
    spread = c.out.square() + total * c.skip.square()
    torch.testing.assert_close(spread, torch.full_like(u, s**2))


def test_training_draws_what_the_field_corrupts():
    built, x0 = made(2.0)
    loss, _ = built("field", Batch(x0.float()), Rng(5))
    core, rng = built.field.inner, Rng(5)
    t = built.times(rng.spread("time", 6))
    c0 = built.field.decay.to_basis(x0.float())
    c, n = core.corrupt(c0, t, rng)
    assert isinstance(built.field, Turned)
    torch.testing.assert_close(loss, core.residual(c, c0, n, t)[0].square().mean())


def test_a_stopped_training_goes_on_as_if_it_had_not(tmp_path):
    small = {"steps": 6, "batch": 16, "width": 8, "depth": 1, "device": "cpu", "save_every": 3}
    plan = Plan.make("blur", "moons", **small)
    execute(plan, out=tmp_path / "whole")
    execute(plan, out=tmp_path / "part", watch=lambda state: state.step == 3)
    execute(plan, out=tmp_path / "part", resume=True)
    whole, part = (diffode.load(tmp_path / run).field for run in ("whole", "part"))
    x = torch.randn(8, 2)
    torch.testing.assert_close(part.velocity(x, 0.5), whole.velocity(x, 0.5), rtol=0, atol=0)


def test_other_networks_take_it():
    for options in ({"network": "unet"}, {"network": "dit", "patch": 4}):
        built = diffode.build("blur", (1, 8, 8), width=16, depth=1, **options)
        assert built.field.velocity(torch.randn(2, 1, 8, 8), 0.5).isfinite().all()
