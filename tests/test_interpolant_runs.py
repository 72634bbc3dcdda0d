"""Interpolants that are trained: on points, from the command line, and gone on with."""

import pytest
import torch

import diffode
from diffode.cli.app import run
from diffode.data import load
from diffode.fields import BrownianBridge, Interpolant, LearnedInterpolant
from diffode.rng import Rng
from diffode.runs.plan import Plan
from diffode.runs.run import execute
from diffode.training import Batch
from tests.clouds import p_value
from tests.runs import arrays, made

SMALL = {"steps": 6, "batch": 16, "width": 8, "depth": 1, "device": "cpu", "save_every": 3}
NOISY = {"path": "bridge", "gamma": 0.4}


def stopped_and_whole(tmp_path, plan, *data, **prior):
    """The fields of a run that went on from its checkpoint, and of one without a stop."""
    part, whole = tmp_path / "part", tmp_path / "whole"
    execute(plan, *data, out=part, watch=lambda state: state.step == 3, **prior)
    execute(plan, *data, out=part, resume=True)
    execute(plan, *data, out=whole, **prior)
    return part, whole


def test_a_run_goes_on_exactly_and_its_rows_are_its_own(tmp_path):
    part, whole = stopped_and_whole(tmp_path, Plan.make("interpolant", "moons", **SMALL, **NOISY))
    one, two = (diffode.load(folder, "raw").field for folder in (part, whole))
    for solver in ("heun", "sde-interpolant"):
        x = diffode.sample(one, 5, solver, steps=3).x
        assert torch.equal(x, diffode.sample(two, 5, solver, steps=3).x)
        assert torch.allclose(x, diffode.sample(one, 5, solver, steps=3, batch=2).x, atol=1e-5)


def test_pieces_of_a_batch_have_the_loss_of_the_whole():
    objective = diffode.build("interpolant", (2,), width=8, depth=1, **NOISY)
    x, rows = load("moons").train[:8], torch.arange(8)
    whole, _ = objective("field", Batch(x), Rng(3))
    parts = [objective("field", Batch(x[k]), Rng(3).rows(k))[0] for k in (rows[:4], rows[4:])]
    assert torch.allclose(whole, sum(parts) / 2, atol=1e-6)


def test_the_loss_is_least_at_the_exact_rate_and_noise():
    """For data at one point and a normal start both are known, and no network is near them."""
    objective = diffode.build("interpolant", (2,), width=8, depth=1, gamma=0.4)
    field, point = objective.field, torch.tensor([[1.0, -0.5]])
    gamma = field.interpolant.level

    def answer(x, t, kind):
        t = t[:, None]
        level, slope = (v.to(x) for v in gamma(t))
        s2 = t.to(x) ** 2 + level**2
        rest = (x - (1 - t.to(x)) * point) / s2
        rate = (t.to(x) + level * slope) * rest - point
        return field.rate_target(rate, t[:, 0]) if kind == "rate" else level * rest

    field.rate_output = lambda x, t, y, flipped: answer(x, t, "rate")
    field.noise_output = lambda x, t, y, flipped: answer(x, t, "noise")
    batch = Batch(point.expand(4000, 2))
    least = float(objective("field", batch, Rng(0))[0])
    for factor in (0.9, 1.1):
        field.rate_output = lambda x, t, y, f, k=factor: k * answer(x, t, "rate")
        assert float(objective("field", batch, Rng(0))[0]) > least
        field.rate_output = lambda x, t, y, flipped: answer(x, t, "rate")
        field.noise_output = lambda x, t, y, f, k=factor: k * answer(x, t, "noise")
        assert float(objective("field", batch, Rng(0))[0]) > least
        field.noise_output = lambda x, t, y, flipped: answer(x, t, "noise")


def test_a_learned_field_wants_noise_that_is_0_at_the_ends():
    network = diffode.build("interpolant", (2,), width=8, depth=1).field.network
    for gamma in (BrownianBridge(1.0), lambda t: t):
        with pytest.raises(ValueError, match="a learned field wants 0 and a finite slope at both"):
            LearnedInterpolant(Interpolant(gamma=gamma), network, network, torch.zeros(2), 1.0)
    with pytest.raises(ValueError, match="an interpolant with noise has a network for it"):
        LearnedInterpolant(Interpolant(gamma=0.5), network, None, torch.zeros(2), 1.0)


def test_the_score_is_minus_the_noise_over_its_level_and_refused_at_the_ends():
    field = diffode.build("interpolant", (2,), width=8, depth=1, gamma=0.4).field
    x = load("moons").train[:4]
    level = field.interpolant.level(torch.tensor(0.3))[0]
    assert torch.allclose(field.score(x, 0.3), -field.noise_part(x, 0.3) / level.float())
    for t in (0.0, 1.0):
        with pytest.raises(ValueError, match="0 at this time, where it tells no score"):
            field.score(x, t)


def test_the_commands_train_sample_and_encode_an_interpolant(tmp_path):
    options = ["--set", "path=trigonometric", "--set", "gamma=.3"]
    folder, out = made(tmp_path, "interpolant", "moons", *options), tmp_path / "x.npz"
    settings = ["--samples", "9", "--solver", "sde-interpolant", "--nfe", "9", "--device", "cpu"]
    assert run(["sample", str(folder), *settings, "--out", str(out)]) == 0
    assert arrays(out)["x"].shape == (9, 2)
    latents = ["--out", str(tmp_path / "z.npz"), "--solver", "heun", "--device", "cpu"]
    assert run(["encode", str(folder), str(out), *latents]) == 0
    assert arrays(tmp_path / "z.npz")["x"].shape == (9, 2)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"path": "trigonometric", "gamma": 0.5}, NOISY])
def test_a_trained_flow_has_the_law_of_the_data(options):
    small = {"steps": 1400, "width": 64, "depth": 2, "batch": 256}
    field = diffode.fit("interpolant", "moons", **small, **options).field
    test = load("moons").test[:1000]
    assert p_value(diffode.sample(field, 1000).x, test) > 0.01
    if options:
        moved = diffode.sample(field, 1000, "sde-interpolant", steps=40)
        assert p_value(moved.x, test) > 0.01
