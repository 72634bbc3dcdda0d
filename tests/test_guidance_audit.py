"""The audit of guidance: the tilted law drawn exactly, and what guided samples are beside it."""

import json
import math

import pytest
import torch

from diffode.analysis import audit, tilted
from diffode.analysis.guidance import audit_tables
from diffode.fields import VP, Empirical, Karras, Mixture, PoissonField, Rectified, rescheduled
from diffode.fields.guidance import classifier_free
from diffode.priors import Normal, StudentT
from diffode.rng import Rng


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def line(noise=None, std=1.0, schedule=None):
    """Two classes on a line, the second in two parts."""
    means, stds = tensor([-1.0], [1.0], [2.0]), std * tensor(0.7, 0.4, 0.9)
    labels = [0, 1, 1]
    return Mixture(tensor(0.5, 0.3, 0.2), means, stds, schedule or Karras(), noise, labels)


def plane(noise=None):
    """Three classes that overlap."""
    means = tensor([0.0, 1.0], [0.9, -0.5], [-0.9, -0.5])
    return Mixture(torch.ones(3), means, tensor(0.5, 0.5, 0.5), Karras(), noise, [0, 1, 2])


def moments(log_density):
    """Mean and variance on a line, by a sum over a fine grid."""
    x = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    p = (log_density(x[:, None]) - log_density(x[:, None]).max()).exp()
    p = p / p.sum()
    mean = p @ x
    return float(mean), float(p @ (x - mean).square())


# --------------------------------------------------------------------------------- the tilted law


@pytest.mark.parametrize("weak", [None, line(std=1.5)], ids=["labels", "weaker"])
@pytest.mark.parametrize("w", [0.0, 0.4, 1.0, 2.0, 5.0])
def test_draws_of_the_tilted_law_have_its_moments(w, weak):
    law, n = line(), 5_000
    t, reference, told = law.span[1], weak or law, None if weak is None else 1

    def log(x):
        return (1 - w) * reference.log_marginal(x, t, told) + w * law.log_marginal(x, t, 1)

    mean, variance = moments(log)
    x, accepted = tilted(law, 1, w, n, Rng(0), weak)
    assert x.shape == (n, 1) and 0 < accepted <= 1 and (w not in (0.0, 1.0) or accepted == 1)
    assert float(x.mean()) == pytest.approx(mean, abs=5 * math.sqrt(variance / n))
    assert float(x.var()) == pytest.approx(variance, rel=0.12)


def test_the_tilted_law_of_points_is_their_class():
    """A point has one label: all of a class are tilted alike."""
    points = Rng(0).normal("points", (30, 2), torch.float64)
    labels = torch.arange(30) % 3
    x, accepted = tilted(Empirical(points, Karras(), labels=labels), 2, 4.0, 200, Rng(1))
    assert accepted == 1
    assert all(bool((points[labels == 2] == p).all(1).any()) for p in x)


def test_a_tilted_law_that_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match=r"got weight -1\.0; wanted a finite number, 0 or more"):
        tilted(line(), 1, -1.0, 10, Rng(0))
    with pytest.raises(ValueError, match="label 5 has no components"):
        tilted(line(), 5, 2.0, 10, Rng(0))
    narrow = line(std=0.2)  # the class is wider than its reference: the ratio has no bound
    with pytest.raises(ValueError, match=r"of 400 proposals were accepted.*smaller weight"):
        tilted(line(), 1, 4.0, 10, Rng(0), narrow)


# ----------------------------------------------------------------------------- at each noise level


@pytest.mark.parametrize("w", [0.0, 0.5, 2.0, 7.5])
@pytest.mark.parametrize("schedule", [VP(), Karras(), Rectified()], ids=repr)
def test_the_guided_field_is_the_score_of_the_tilted_density_of_its_level(w, schedule):
    law, x, y = line(schedule=schedule), tensor([-0.5], [0.8], [3.0]), torch.tensor([0, 1, 1])
    for t in (0.1, 0.7):
        at = x.clone().requires_grad_()
        log = (1 - w) * law.log_marginal(at, t) + w * law.log_marginal(at, t, y)
        wanted = torch.autograd.grad(log.sum(), at)[0]
        got = classifier_free(law, w).score(x, t, y)
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


def test_levels_are_not_the_noisy_versions_of_one_law():
    """What is a score at each level need not be the score of the tilted law with noise on it."""
    law, w, t = line(), 3.0, 1.0
    x = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    whole, own = (law.log_marginal(x[:, None], 0.002, y) for y in (None, 1))
    tilt = whole + w * (own - whole)
    at = tensor(1.5)
    kernel = tilt - (at - x).square() / (2 * t**2)
    noisy = torch.softmax(kernel, 0) @ x  # E[x_0 | x] of the tilted law
    guided = classifier_free(law, w).denoise(at[None], t, 1)
    assert float(guided - noisy) > 0.2


# ------------------------------------------------------------------------------------ the audit


@pytest.mark.parametrize("w", [0.5, 2.0])
def test_for_normal_laws_of_one_variance_guidance_samples_the_tilted_law(w):
    """N(m, s) away from N(0, s): all levels are those of N(w m, s)."""
    strong, weak, named = (
        Mixture(torch.ones(1), tensor([m, 0.0]), tensor(0.6), Karras(), None, [0])
        for m in (0.3, 0.0, 0.3 * w)
    )
    x = tensor([0.3, 0.2], [-1.0, 2.0])
    torch.testing.assert_close(
        classifier_free(strong, w, weak=weak).denoise(x, 0.8, 0), named.denoise(x, 0.8, 0)
    )
    found = audit(strong, 0, w, weak=weak, n=400, nfe=[])
    assert found.converged.distance.value < 2 * found.exact.distance.value
    assert found.converged.shift < 0.2 and found.converged.spread == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("field", [plane(), PoissonField(plane(StudentT(3.0)))], ids=str)
def test_guidance_goes_too_far_and_spreads_too_little(field):
    plain, far = (audit(field, 0, w, n=300, nfe=[]) for w in (1.0, 4.0))
    assert plain.converged.distance.value < 1.8 * plain.exact.distance.value
    assert far.converged.distance.value > 4 * far.exact.distance.value
    assert far.converged.shift > 1 and far.converged.spread < 0.8
    assert plain.accepted == 1 and far.accepted < 1
    assert far.converged.accuracy >= far.exact.accuracy > plain.exact.accuracy


def test_the_share_of_the_solver_falls_with_evaluations_and_costs_two_calls_each():
    coarse, fine = audit(plane(), 1, 2.0, n=60, nfe=[6, 30]).spent
    assert coarse.error > 3 * fine.error
    assert (coarse.nfe, coarse.network_calls, fine.network_calls) == (6, 12, 60)
    (alone,) = audit(plane(), 1, 1.0, n=60, nfe=6).spent
    assert alone.network_calls == alone.nfe == 6


def test_an_audit_is_a_row_of_two_tables_and_can_be_stored():
    found = audit(plane(), 0, 2.0, interval=(0.2, 1.0), n=40, nfe=[8], name="three")
    assert json.loads(json.dumps(found.asdict()))["spent"][0]["nfe"] == 8
    sampled, solved = audit_tables([found])
    assert list(sampled.rows[0])[:3] == list(solved.rows[0])[:3] == ["three", "2", "0.2 to 1"]
    assert "8 evaluations" in solved.head


def test_what_cannot_be_audited_is_refused():
    with pytest.raises(TypeError, match="got a Rescheduled; an audit of guidance needs"):
        audit(rescheduled(plane(), "theta"), 0, 2.0)
    with pytest.raises(ValueError, match="got n=10; an audit needs 40 samples at least"):
        audit(plane(), 0, 2.0, n=10)
    for nfe, words in (("10", "got nfe='10'; wanted a whole"), ([5, 2.5], "got nfe=2.5; wanted")):
        with pytest.raises(TypeError, match=words):
            audit(plane(), 0, 2.0, nfe=nfe)
    with pytest.raises(ValueError, match="got nfe=0; wanted 1 or more"):
        audit(plane(), 0, 2.0, nfe=0)
    unlabelled = Mixture(torch.ones(1), tensor([0.0, 0.0]), tensor(1.0), Karras(), Normal())
    with pytest.raises(ValueError, match="knows no labels"):
        audit(unlabelled, 0, 2.0)
