"""What is said of data and schedules that do not suit each other, and whether the advice helps."""

import math
import re
import warnings

import numpy as np
import pytest
import torch

import diffode
from diffode.bench.comparison import compare
from diffode.bench.config import make_config
from diffode.data import Dataset, as_dataset, load
from diffode.fields import Karras, Mixture, PoissonField
from diffode.likelihood.card import likelihood_card
from diffode.priors import Normal, StudentT
from diffode.runs.run import Plan, execute
from diffode.training import data_stats, suitability
from diffode.training.trainer import train
from tests.runs import made

SMALL = {"width": 8, "depth": 1, "steps": 1, "batch": 16, "device": "cpu"}


def normal(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def fit(x, name="edm", **options):
    return diffode.fit(name, Dataset("x", x[:-50], x[-50:]), **SMALL, **options)


def share(field, count, **settings):
    """The share of samples on the small blob's side."""
    x = diffode.sample(field, count, **settings).x
    return float((x.sum(1) < 0).double().mean())


# ------------------------------------------------------------------- the end of the schedule

BLOBS = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
WIDEST = math.sqrt(8 * 0.25 * 0.75 + 0.1**2)


def blobs(signal, noise):
    weights, stds = torch.tensor([0.25, 0.75]), torch.tensor([0.1, 0.1])
    return Mixture(weights, BLOBS, stds, Karras(0.01, WIDEST / signal), noise)


@pytest.mark.parametrize("dof", [None, 128.0, 1.0])
def test_the_signal_at_the_prior_tells_how_wrong_proportions_are(dof):
    """Of exact fields: the share of a .25 blob at the sizes that are warned of and refused."""
    shares = []
    for signal in (0.02, suitability.WARNED, suitability.REFUSED):
        field = blobs(signal, StudentT(dof) if dof else Normal())
        shares.append(share(PoissonField(field) if dof == 1 else field, 2000, nfe=40))
    clean, warned, refused = shares
    assert 0.004 < clean - warned < 0.02  # the same noise, so paired; .250, .241 and .18
    assert 0.05 < clean - refused < 0.09


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vp", {"beta_max": 1.0}),
        ("edm", {"sigma_max": 0.5}),
        ("ve", {"sigma_max": 0.5}),
        ("pfgmpp", {"sigma_max": 0.5}),
        ("poisson", {"sigma_max": 0.5}),
        ("ddpm", {"timesteps": 100, "beta_start": 1e-4, "beta_end": 0.02}),
    ],
)
def test_a_schedule_that_shows_the_data_is_refused_at_every_door(name, options, tmp_path):
    moons = load("moons")
    x, stats = moons.train[:200], data_stats(moons.train)
    with pytest.raises(ValueError, match="ends before the noise hides the data"):
        fit(x, name, **options)
    plan = Plan.make(name, "moons", **SMALL, **options)
    with pytest.raises(ValueError, match="ends before the noise hides the data"):
        execute(plan, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    objective = diffode.build(name, (2,), None, stats, width=8, depth=1, **options)
    with pytest.raises(ValueError, match="ends before the noise hides the data"):
        next(train(objective, x, steps=1, batch=16, device="cpu"))


def test_a_comparison_refuses_such_a_schedule_before_it_trains(tmp_path):
    options = {"edm": {"sigma_max": 0.5}}
    small = {"fields": ["rectified", "edm"], "data": ["moons"], "samples": 100, "device": "cpu"}
    config = make_config(**small, options=options, train={"steps": 1, "width": 8})
    with pytest.raises(ValueError, match="ends before the noise hides the data"):
        compare(config, tmp_path)
    assert not (tmp_path / "models").exists()


def test_a_doubtful_schedule_is_warned_of_and_trained():
    x = load("moons").train[:200]
    with pytest.warns(UserWarning, match=r"alpha s / sigma is 0.6\d.* sigma / alpha of 6\.\d or"):
        run = fit(x, sigma_max=3.0)
    assert "signal 0.4" in repr(run.field)  # of the rms standard deviation, 1.4


def test_the_schedules_of_the_recipes_are_not_warned_of():
    x = load("blobs").train
    for name in ("vp", "subvp", "ve", "ddpm", "edm", "rectified", "pfgmpp", "poisson", "monoflow"):
        objective = diffode.build(name, (2,), None, data_stats(x), width=8, depth=1)
        assert suitability.remarks(objective, x) == []
        kept = suitability.signal(objective.field, x)
        assert (kept is None) == (name == "monoflow") and (kept or 0) < 0.05


def test_one_wide_direction_counts_as_much_among_many():
    """The rms over coordinates would hide it."""
    x = normal(400, 200) * 0.1
    x[:, 0] *= 30.0
    assert suitability.widest(x, x.mean(0)) == pytest.approx(float(x[:, 0].std()), rel=0.02)
    assert suitability.widest(x[:60], x.mean(0)) == pytest.approx(3.0, rel=0.3)
    assert suitability.widest(x + 7, x.mean(0)) == pytest.approx(7 * math.sqrt(200), rel=0.01)


def test_a_begun_run_of_a_short_schedule_goes_on(tmp_path, monkeypatch):
    x, common = load("moons").train[:200], {"steps": 3, "batch": 16, "device": "cpu"}

    def begin(**options):
        stats, small = data_stats(x), {"width": 8, "depth": 1, "sigma_max": 0.5}
        return train(diffode.build("edm", (2,), None, stats, **small), x, **common, **options)

    monkeypatch.setattr(suitability, "REFUSED", math.inf)  # as before there was a check
    with pytest.warns(UserWarning, match="ends before the noise hides the data"):
        old = begin(out=tmp_path)
        next(old)
    old.close()
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="ends before the noise hides the data"):
        assert [state.step for state in begin(resume=tmp_path)] == [2, 3]


def test_chains_of_all_lengths_end_alike_and_stored_betas_are_taken_as_they_are():
    ends = []
    for timesteps in (25, 100, 1000, 4000):
        field = diffode.build("ddpm", (2,), timesteps=timesteps, width=8, depth=1).field
        ends.append(float(field.schedule.alpha(torch.tensor(field.span[0]).double())))
    assert all(0.0 < a < 0.007 for a in ends)
    thousand = diffode.build("ddpm", (2,), width=8, depth=1).field.schedule
    given = diffode.build("ddpm", (2,), width=8, depth=1, beta_start=1e-4, beta_end=0.02)
    t = torch.arange(1000).double()
    assert torch.equal(thousand.alpha(t), given.field.schedule.alpha(t))
    with pytest.raises(ValueError, match=r"got timesteps=10, .* take 21 or more"):
        diffode.build("ddpm", (2,), timesteps=10)


# ------------------------------------------------------------------------- the scale of data


def test_scale_is_measured_about_the_mean():
    x = normal(400, 2)
    fit(x + torch.tensor([300.0, 0.0]))
    for shift in (0.0, 300.0):
        with pytest.raises(ValueError, match=r"deviation 1[0-9][0-9]; .* --scale standard"):
            fit(100 * x + shift)
    with pytest.raises(ValueError, match=r"standard deviation 0\.00.*standardise each column"):
        fit(x / 1000 + torch.tensor([5.0, -5.0]))


@pytest.mark.parametrize("scale", [(1000.0, 1.0), (1e-3, 1e-5), (80.0, 80.0), (1e-3, 1e-3)])
def test_data_made_as_advised_are_accepted(scale):
    x = normal(400, 2) * torch.tensor(scale) + torch.tensor([5.0, -5.0]) * scale[0]
    with pytest.raises(ValueError, match="order 1: standardise each column"):
        fit(x)
    fit((x - x.mean(0)) / x.std(0))  # warnings are errors here
    fit(torch.cat(((x - x.mean(0)) / x.std(0), x[:, :1] * 0), 1))  # with a constant column
    fit(as_dataset(x).train)  # as the data set of these points does by itself


def test_columns_of_unequal_scale_are_warned_of():
    x = normal(400, 2) * torch.tensor([1.0, 0.05])
    with pytest.warns(UserWarning, match=r"from 0\.0552 to .*standardise each column"):
        fit(x)
    images = torch.cat((x, x), 1).view(-1, 1, 2, 2)
    fit(images)  # of which some pixels hardly vary
    fit(torch.cat((x[:, :1], torch.ones(400, 1)), 1))  # a column that is constant


@pytest.mark.parametrize("shape", [(2,), (1, 4, 4)])
def test_a_mean_that_takes_the_digits_of_single_precision(shape):
    x = normal(400, *shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(x + 1e4)
    with pytest.warns(UserWarning, match=r"single precision rounds 2.*%.*subtract the mean, in"):
        fit(x + 2e5)
    with pytest.raises(ValueError, match=r"single precision rounds 2.*%"):
        fit(x.double() + 2e6)


# -------------------------------------------------------------------------- where it is said


def test_the_command_line_warns_in_one_line_and_the_report_says_it(tmp_path, capsys):
    np.save(tmp_path / "x.npy", load("moons").train[:300].numpy())
    data = ["--data", str(tmp_path / "x.npy")]
    out = made(tmp_path, "--field", "edm", *data, "--set", "sigma_max=3")
    lines = capsys.readouterr().err.splitlines()
    said = [line for line in lines if line.startswith("warning: ")]
    assert len(said) == 1 and "ends before the noise hides the data" in said[0]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert re.search(r"alpha s / sigma = 0\.6\d? of the data.*proportions come out wrong", page)


def test_the_likelihood_card_states_the_signal():
    field = blobs(0.5, Normal())
    card = likelihood_card(field, BLOBS.double(), rtol=1e-2, atol=1e-2)
    alpha_s = field.moments[1]
    assert card.figures()["signal_at_prior"] == pytest.approx(alpha_s / field.span[0])
    assert "signal at t_prior" in str(card) and f"signal {field.signal:.2g}" in repr(field)
