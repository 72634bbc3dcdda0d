"""Fields of tokens as they are trained, stored, sampled and refused."""

import json

import numpy as np
import pytest
import torch

import diffode
from diffode import fit, load, sample
from diffode.cli.app import run
from diffode.data import load as load_data
from diffode.data.levels import Levels
from diffode.data.strings import log_probability
from diffode.fields.learned_tokens import LearnedTokens, network_shape
from diffode.likelihood import elbo
from diffode.runs.plan import Plan
from diffode.runs.run import execute
from diffode.runs.suited import suited
from diffode.training import data_stats
from tests.runs import TINY, refused
from tests.strings import chi2, index, strings

SMALL = {"width": 16, "depth": 1, "device": "cpu", "batch": 16}
WHOLE = strings(6)
P = log_probability(WHOLE.double()).exp()


def test_the_toy_strings_follow_their_law():
    assert abs(float(P.sum()) - 1) < 1e-12
    dna = load_data("dna")
    assert chi2(dna.train.long(), P) > 0.01
    wrong = P[index(WHOLE.flip(1))].roll(1)
    assert chi2(dna.train.long(), wrong / wrong.sum()) < 1e-9
    assert torch.equal(dna.log_density(dna.test[:9]), log_probability(dna.test[:9]))
    assert dna.train_labels.bincount().min() > 9_700
    with pytest.raises(ValueError, match="no letters"):
        log_probability(torch.full((1, 6), 0.5))


def test_the_digits_in_black_and_white_are_the_digits():
    grey, black = load_data("digits"), load_data("digits-binary")
    assert black.train.unique().tolist() == [-1, 1]
    assert torch.equal(black.train > 0, grey.train >= 0)
    assert torch.equal(black.test_labels, grey.test_labels)


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("dna", Levels(4)),
        ("digits", Levels(17, -1.0, 1 / 8)),
        ("digits-binary", Levels(2, -1.0, 2.0)),
    ],
)
def test_levels_are_those_of_the_data(name, levels):
    data = load_data(name)
    found = Levels.of(data.train)
    assert found == levels
    assert torch.equal(found.values(found.tokens(data.test)).float(), data.test)


def test_points_fall_into_bins():
    moons = load_data("moons")
    found = Levels.of(moons.train)
    assert found.bins and found.count == 64
    assert ((found.values(found.tokens(moons.train)) - moons.train).abs() <= found.step / 2).all()
    black = Levels.of(load_data("digits").train, 2)
    assert black.bins and black.count == 2
    with pytest.raises(ValueError, match="does not vary"):
        Levels.of(torch.zeros(3, 2))


def test_a_plan_takes_its_levels_from_the_data():
    options = suited(Plan.make("masked", "digits"), load_data("digits")).options
    assert [options[k] for k in ("levels", "low", "high", "bins")] == [17, -1.0, 1.0, False]
    stated = Plan.make("masked", "digits", levels=5, low=-2.0, high=2.0)
    assert suited(stated, load_data("digits")).options["levels"] == 5


def test_standardised_whole_numbers_are_not_rounded_in_silence(tmp_path):
    x = np.random.default_rng(0).integers(0, 40, (60, 3)) * np.array([1, 1, 20])
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match="read them as they are, with --scale none"):
        fit("categorical", tmp_path / "x.npy", steps=1, **SMALL)
    made = fit("categorical", tmp_path / "x.npy", reading={"scale": "none"}, steps=1, **SMALL)
    assert sample(made.field, 4, steps=2).x.dtype == torch.int64


@pytest.mark.parametrize("shape", [(6,), (2, 3), (2, 4, 5)])
@pytest.mark.parametrize("corruption", ["mask", "uniform"])
def test_each_position_has_its_own_logits(shape, corruption):
    """The network that returns its input guesses what it sees."""
    made = diffode.build("categorical", shape, levels=3, corruption=corruption, **{"width": 8})
    kind = made.field.corruption

    class Same(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(5.0))

        def forward(self, x, cond, y=None):
            assert x.shape[1:] == network_shape(shape, 3)
            return self.scale * x

    field = LearnedTokens(Same(), kind, made.field.levels)
    x = torch.arange(2 * int(np.prod(shape))).reshape(2, *shape) % 3
    assert torch.equal(field.log_posterior(x, 0.5).argmax(-1), x)


def test_a_network_learns_the_law_and_a_resumed_run_is_the_same_run(tmp_path):
    options = {**SMALL, "width": 64, "batch": 128, "steps": 120}
    whole = fit("categorical", "dna", **options)
    stopped = fit(
        "categorical", "dna", out=tmp_path / "run", watch=lambda s: s.step == 40, **options
    )
    again = execute(Plan.read(stopped.out), out=stopped.out, resume=True)
    one, two = whole.objective.state_dict(), again.objective.state_dict()
    assert all(torch.equal(one[k], two[k]) for k in one)
    x = load_data("dna").test[:200]
    found, wanted = elbo(again.objective.field, x), log_probability(x.double())
    assert found.closed and (wanted - found.nats).mean() > 0
    assert (wanted - found.nats).mean() < 2.2, "uniform letters are 3.4 worse"
    field = load(tmp_path / "run").field
    assert torch.equal(sample(field, 30, seed=1).x, sample(field, 30, seed=1, batch=7).x)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    out = tmp_path_factory.mktemp("masked") / "run"
    assert run(["train", "--field", "masked", "--data", "digits", *TINY, "--out", str(out)]) == 0
    return out


def test_the_command_line_trains_and_samples_images(digits, tmp_path):
    stored = json.loads((digits / "config.json").read_text())["options"]
    assert stored["levels"] == 17 and not stored["bins"]
    for name in ("a.npz", "a.png"):
        assert (
            run(["sample", str(digits), "--n", "9", "--nfe", "4", "--out", str(tmp_path / name)])
            == 0
        )
    x = np.load(tmp_path / "a.npz")["x"]
    assert x.shape == (9, 1, 8, 8) and np.abs(x * 8 - np.round(x * 8)).max() == 0
    assert (digits / "samples.png").exists() and (digits / "quality.json").exists()


def test_eval_measures_the_samples_and_no_paths(digits, capsys):
    given = ["--samples", "40", "--nfe", "3", "--device", "cpu"]
    assert run(["eval", str(digits), *given]) == 0
    printed = capsys.readouterr().out
    assert "precision" in printed and "straightness" not in printed


def test_the_command_line_refuses_what_needs_a_velocity(digits, tmp_path, capsys):
    out = ["--out", str(tmp_path / "x.npz")]
    for solver in ("heun", "trig", "ddim", "dopri5"):
        line = refused(capsys, "sample", digits, "--solver", solver, *out)
        assert f"{solver} needs a velocity, and LearnedTokens has none" in line
    np.savez(tmp_path / "s.npz", x=load_data("digits").test[:3].numpy())
    assert "to encode a point needs a velocity" in refused(
        capsys, "encode", digits, tmp_path / "s.npz", *out
    )
    line = refused(capsys, "sample", digits, "--set", "temperature=2", *out)
    assert "temperature" in line


def test_a_recipe_without_data_takes_bins_about_the_mean():
    points = load_data("moons").train[:100]
    field = diffode.build("categorical", (2,), stats=data_stats(points), width=8).field
    assert field.levels.bins and field.levels.count == 64
    assert diffode.build("categorical", (5,), levels=4, width=8).field.levels == Levels(4)
    with pytest.raises(ValueError, match="the highest is above the lowest"):
        diffode.build("categorical", (5,), levels=4, low=2.0, high=1.0)


def test_the_command_line_bounds_the_likelihood(digits, tmp_path, capsys):
    out, values = tmp_path / "a.json", tmp_path / "a.npz"
    files = ["--out", str(out), "--values", str(values)]
    given = ["--points", "3", "--set", "draws=6", "--seed", "2"]
    assert run(["likelihood", str(digits), *given, *files, "--device", "cpu"]) == 0
    printed, found = capsys.readouterr().out, json.loads(out.read_text())
    assert "a lower bound of the log-probability of 3 samples of 64 tokens" in printed
    assert "by 6 corruptions of each" in printed and not found["closed"]
    with np.load(values) as each:
        x, nats = torch.from_numpy(each["x"]), each["nats"]
    wanted = elbo(load(digits).field, x, draws=6, seed=2)
    np.testing.assert_allclose(nats, wanted.nats.numpy(), rtol=1e-6)
    assert found["bits_per_token"] == pytest.approx(-nats.mean() / 64 / np.log(2))
    assert found["estimator_error"] > 0
    for option in (["--trace", "hutchinson"], ["--solver", "heun"], ["--as-is"]):
        line = refused(capsys, "likelihood", digits, *option)
        assert f"got {option[0]}, which is for densities along a flow" in line
    assert "no option 'rtol'" in refused(capsys, "likelihood", digits, "--set", "rtol=1")
    assert "only the finite sum knows steps" in refused(
        capsys, "likelihood", digits, "--steps", "9"
    )


def test_the_bound_of_bins_is_a_density_too(tmp_path, capsys):
    """An untrained network gives each of the 64 bins of the data's range the same share."""
    out = tmp_path / "run"
    given = ["--field", "categorical", "--data", "moons", *TINY, "--set", "corruption=mask"]
    assert run(["train", *given, "--out", str(out)]) == 0
    files = ["--out", str(tmp_path / "a.json"), "--device", "cpu"]
    assert run(["likelihood", str(out), "--points", "50", *files]) == 0
    found = json.loads((tmp_path / "a.json").read_text())
    options = json.loads((out / "config.json").read_text())["options"]
    assert found["nats"] == pytest.approx(-2 * np.log(64), abs=0.05)
    wide = options["high"] - options["low"]
    assert found["density_nats"] == pytest.approx(-2 * np.log(wide), abs=0.05)
    assert "as a density, uniform within the bins" in capsys.readouterr().out
    np.savez(tmp_path / "far.npz", x=np.array([[0.0, 0.0], [9.0, 0.0]], np.float32))
    assert run(["likelihood", str(out), "--data", str(tmp_path / "far.npz"), *files]) == 0
    assert json.loads((tmp_path / "a.json").read_text())["density_nats"] is None
    assert "some samples lie beyond the bins" in capsys.readouterr().out
