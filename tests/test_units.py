"""Data units outside, model units inside: every public function undoes a field's scaling."""

import numpy as np
import pytest
import torch
from torch import nn

from diffode import build, encode, load, log_prob, sample, save, train
from diffode.data import Dataset
from diffode.data.scaling import Scaling, data_units, model_units, same_units
from diffode.data.stats import data_stats
from diffode.fields import (
    VP,
    Empirical,
    Karras,
    Mixture,
    PoissonField,
    Rectified,
    discriminator_guided,
    rescheduled,
)
from diffode.fields.wrapped import Wrapped
from diffode.likelihood import bits_per_dim
from diffode.likelihood.dequantisation import Quantisation
from diffode.priors import StudentT
from diffode.rng import Rng
from diffode.runs.plan import Plan
from diffode.runs.run import execute, fit
from diffode.sampling import decode, round_trip
from tests.runs import edited

COLUMNS = Scaling("standard", torch.tensor([1000.0, -0.02]), torch.tensor([50.0, 0.001]))
BYTES = Scaling.pixels()
SMALL = {"width": 16, "depth": 1}


def two_gaussians(schedule=None, scaling=COLUMNS):
    """An exact field whose data, in data units, are about (1000, -.02)."""
    means = torch.tensor([[-1.0, 0.5], [1.0, -0.5]])
    field = Mixture(torch.tensor([0.3, 0.7]), means, torch.full((2,), 0.4), schedule or VP())
    field.scaling = scaling
    return field


def small(name="edm", scaling=COLUMNS, **options):
    return build(name, (2,), scaling=scaling, **SMALL, **options)


def unscaled(objective):
    """The same weights without units."""
    other = build(objective.spec.recipe, objective.spec.shape, **objective.spec.options)
    other.load_state_dict(objective.state_dict())
    return other


def test_samples_and_their_path_are_in_data_units():
    field = small().field
    given = sample(field, 5, nfe=8, path=True)
    model = sample(unscaled(small()).field, 5, nfe=8, path=True)
    torch.testing.assert_close(given.x, COLUMNS.to_data(model.x))
    assert torch.equal(given.path[-1], given.x)
    assert torch.equal(given.latent.x, model.latent.x), "latents have no units"


def test_a_field_draws_points_with_the_mean_and_the_spread_of_its_data():
    data = torch.tensor([[1000.0, 3.0], [1100.0, 4.0], [900.0, 5.0], [1000.0, 4.0]])
    scaling = Scaling("standard", data.mean(0), data.std(0))
    field = Empirical(scaling.to_model(data).double(), Karras())
    field.scaling = scaling
    x = sample(field, 4000, "heun", nfe=41).x.double()
    torch.testing.assert_close(x.mean(0), data.double().mean(0), rtol=0.01, atol=0)
    torch.testing.assert_close(x.std(0), data.double().std(0, correction=0), rtol=0.05, atol=0)


@pytest.mark.parametrize("scaling", [BYTES, COLUMNS], ids=["pixels", "standard"])
def test_encode_then_decode_gives_the_points_back(scaling):
    field = two_gaussians(Rectified(), scaling)
    x = scaling.to_data(field.sample(6, Rng(1)))
    there = encode(field, x)
    assert there.x.abs().max() < 6, "latents are those of the prior"
    back = decode(field, there.x)
    torch.testing.assert_close(back.x, x, rtol=1e-4, atol=0)
    error = round_trip(field, x)
    assert (error < 1e-4 * float(scaling.width.max())).all()


def test_a_density_integrates_to_one_over_the_units_of_the_data():
    field = two_gaussians()
    steps = [torch.linspace(-3.5, 3.5, 41).double() * w + b for b, w in zip(
        COLUMNS.shift, COLUMNS.width, strict=True)]  # fmt: skip
    area = float((steps[0][1] - steps[0][0]) * (steps[1][1] - steps[1][0]))
    grid = torch.cartesian_prod(*steps)
    r = log_prob(field, grid, solver="rk4", steps=24)
    assert float(r.nats.exp().sum()) * area == pytest.approx(1, abs=2e-3)
    torch.testing.assert_close(r.nats, r.prior + r.divergence + r.units)
    assert r.units == pytest.approx(-np.log(50.0 * 0.001))


def test_the_gradient_of_a_density_is_per_unit_of_the_data():
    field = two_gaussians()
    x = COLUMNS.to_data(field.sample(3, Rng(2)).double()).requires_grad_()
    nats = log_prob(field, x, terminal=lambda z: field.log_marginal(z, field.span[0])).nats
    (slope,) = torch.autograd.grad(nats.sum(), x)
    score = field.score(COLUMNS.to_model(x.detach()), field.span[1]) / COLUMNS.width
    torch.testing.assert_close(slope, score, rtol=1e-4, atol=0)


def test_bits_per_dimension_do_not_depend_on_the_units():
    field, plain = two_gaussians(scaling=BYTES), two_gaussians(scaling=None)
    x = field.sample(5, Rng(3)).double()
    ours = bits_per_dim(log_prob(field, BYTES.to_data(x)).nats, 2, Quantisation(256, 0, 255))
    torch.testing.assert_close(ours, bits_per_dim(log_prob(plain, x).nats, 2, Quantisation()))


class Pull(nn.Module):
    def forward(self, x, t, y=None):
        return -x.square().flatten(1).sum(1)


WRAPPERS = {
    "bound": lambda f: PoissonField(f).bind(torch.ones(3)),
    "rows": lambda f: PoissonField(f).bind(torch.ones(3)).rows(torch.tensor([0])),
    "start": lambda f: PoissonField(f).start(3, Rng(0)).field,
    "guided": lambda f: discriminator_guided(PoissonField(f), Pull()),
    "clock": lambda f: rescheduled(f, "logsnr"),
    "around": lambda f: Wrapped(PoissonField(f)),
    "copied": lambda f: PoissonField(f).copied(),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper_has_the_units_of_what_it_wraps(name):
    field = Empirical(torch.randn(6, 2), Karras(), StudentT(4.0))
    field.scaling = COLUMNS
    assert WRAPPERS[name](field).scaling is COLUMNS


def test_a_centred_clock_gives_the_same_samples():
    field = two_gaussians(VP())
    x = sample(field, 5, "dopri5", rtol=1e-8, atol=1e-8).x
    z = sample(rescheduled(field, "theta"), 5, "dopri5", rtol=1e-8, atol=1e-8).x
    torch.testing.assert_close(z, x, rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ["edm", "poisson", "monoflow", "gan"])
def test_a_checkpoint_keeps_the_units(tmp_path, name):
    objective = small(name)
    assert not any("scaling" in key for key in objective.state_dict())
    save(objective, tmp_path / "a.safetensors")
    field = load(tmp_path / "a.safetensors").field
    assert field.scaling.kind == "standard" and same_units(field.scaling, COLUMNS)
    assert torch.equal(sample(field, 3).x, sample(objective.field, 3).x)


def test_a_scaling_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"scaling of shape \(3, 1, 1\) for events of shape \(2,"):
        build("edm", (2,), scaling=Scaling("pixels", torch.zeros(3, 1, 1), torch.ones(1)))


@pytest.mark.parametrize(
    "change",
    [
        lambda h, t: t.update({"scaling/shift": t["scaling/shift"] * torch.nan}),
        lambda h, t: t.update({"scaling/width": -t["scaling/width"]}),
        lambda h, t: t.update({"scaling/width": torch.ones(5), "scaling/shift": torch.ones(5)}),
        lambda h, t: t.update({"scaling/width": torch.ones(3)}),
        lambda h, t: t.__delitem__("scaling/width"),
        lambda h, t: h.__delitem__("scaling"),
        lambda h, t: h.update({"scaling": 3}),
    ],
)
def test_a_damaged_scaling_is_refused(tmp_path, change):
    path = save(small(), tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="the checkpoint's scaling") as error:
        load(edited(tmp_path / "b.safetensors", path, change))
    assert "\n" not in str(error.value)


def columns(rows=60, scaling=COLUMNS):
    u = torch.randn(rows, 2, generator=torch.Generator().manual_seed(5))
    return Dataset("columns", u[10:], u[:10], scaling=scaling)


def test_a_run_keeps_the_units_in_its_average_and_on_resume(tmp_path):
    options = {"batch": 8, "save_every": 2, **SMALL}
    run = fit("edm", columns(), out=tmp_path / "run", steps=4, **options)
    assert same_units(run.field.scaling, COLUMNS)
    assert run.field is not run.objective.field
    assert sample(run.field, 4, nfe=8).x[:, 0].min() > 500
    plan = Plan.read(tmp_path / "run").altered({"steps": 6})
    with pytest.raises(ValueError, match="its units changed"):
        other = Scaling("standard", COLUMNS.shift, COLUMNS.width * 1.01)
        execute(plan, columns(scaling=other), out=tmp_path / "run", resume=True)
    more = execute(plan, columns(), out=tmp_path / "run", resume=True)
    assert same_units(more.field.scaling, COLUMNS)
    assert same_units(load(tmp_path / "run").field.scaling, COLUMNS)


def test_a_training_that_is_resumed_with_other_units_is_refused(tmp_path):
    data = columns().train
    stats = data_stats(data)
    first = build("edm", (2,), None, stats, scaling=COLUMNS, **SMALL)
    for _ in train(first, data, steps=2, batch=8, out=tmp_path):
        pass
    for other in (None, BYTES):
        again = build("edm", (2,), None, stats, scaling=other, **SMALL)
        with pytest.raises(ValueError, match="was trained in the units standard: 2 shifts"):
            next(iter(train(again, data, steps=4, batch=8, resume=tmp_path)))


def test_a_run_from_before_there_were_units_goes_on_as_it_was(tmp_path):
    before = columns(scaling=None)
    fit("edm", before, out=tmp_path / "run", steps=2, batch=8, **SMALL)
    plan = Plan.read(tmp_path / "run").altered({"steps": 4})
    run = execute(plan, columns(scaling=BYTES), out=tmp_path / "run", resume=True)
    assert run.field.scaling is None and run.dataset.scaling is None


def test_units_that_are_the_same_change_nothing():
    x = torch.randn(3, 2)
    assert model_units(x, None) is x and data_units(x, None) is x
    assert same_units(None, None) and not same_units(None, BYTES)
    assert not same_units(BYTES, COLUMNS)


def test_what_is_not_stated_of_a_round_trip_is_chosen_and_what_is_stated_holds():
    field = two_gaussians(Rectified())
    x = field.sample(6, Rng(1))
    tight = encode(field, x, "dopri5", rtol=1e-7, atol=1e-7)
    assert torch.equal(encode(field, x).x, tight.x) and encode(field, x).nfe == tight.nfe
    loose = encode(field, x, rtol=1e-2, atol=1e-2)
    assert loose.nfe < tight.nfe, "stated tolerances were not taken"
    for stated in ({"nfe": 10}, {"steps": 10}, {"grid": "karras"}):
        usual = encode(field, x, "default", **stated)
        assert torch.equal(encode(field, x, **stated).x, usual.x) and usual.nfe <= 35
        assert torch.equal(round_trip(field, x, **stated), round_trip(field, x, "trig", **stated))
