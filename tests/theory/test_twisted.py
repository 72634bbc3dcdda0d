"""Twisted SMC draws from the law given an observation; DPS pushes the ancestral sampler."""

import math

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from diffode import sample
from diffode.data.scaling import Scaling
from diffode.fields import (
    VP,
    Empirical,
    Karras,
    Mixture,
    MonoFlow,
    PoissonField,
    Rectified,
    conditioned,
    exact_posterior,
    log_evidence,
)
from diffode.fields.operators import mask, matrix
from diffode.nn import critic_network
from diffode.priors import StudentT
from diffode.rng import Rng
from diffode.sampling import twisted
from diffode.sampling.smc import _Cloud
from diffode.solvers.dps import DPS
from diffode.warned import DegeneracyWarning

NOISE = 0.3


def numbers(*shape, seed=0):
    source = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=source, dtype=torch.float64)


H, SEEN = matrix(numbers(2, 4)), numbers(2, seed=1)
FACTOR = numbers(4, 4)
GAUSSIAN = (FACTOR @ FACTOR.T / 4 + 0.05 * torch.eye(4).double())[None]


def mixture(schedule=None, noise=None, labels=None):
    means = torch.tensor([[-1.0, 0.5, 0, 1], [1, -1, 0.5, 0], [0, 1, 1, -1]]).double()
    weights = torch.tensor([0.2, 0.3, 0.5])
    stds = torch.full((3,), 0.4)
    return Mixture(weights, means, stds, schedule or Karras(0.02, 20.0), noise, labels)


@pytest.mark.parametrize("schedule", [Karras(0.02, 20.0), VP(), Rectified()], ids=repr)
def test_of_one_gaussian_the_law_given_y_is_drawn(schedule):
    """Its mean, its covariance, and the evidence."""
    plain = Mixture(torch.ones(1), numbers(1, 4, seed=2), GAUSSIAN, schedule)
    drawn = twisted(plain, H, SEEN, NOISE, 3000, steps=60)
    exact = exact_posterior(plain, H, SEEN, NOISE)
    x = drawn.x.double()
    wanted = exact.sample(200_000, Rng(0)).double()
    scale = wanted.std(0)
    assert float(((x.mean(0) - wanted.mean(0)) / scale).abs().max()) < 0.1
    gap = (x.T.cov() - wanted.T.cov()) / scale / scale[:, None]
    assert float(gap.abs().max()) < 0.15
    assert abs(drawn.log_evidence - log_evidence(plain, H, SEEN, NOISE)) < 0.1
    assert float(drawn.ess.min()) > 1000 and drawn.status.eq(0).all()


@pytest.mark.parametrize("method", ["pigdm", "tmpd"])
def test_the_evidence_of_a_mixture_is_estimated(method):
    plain = mixture()
    drawn = twisted(plain, H, SEEN, NOISE, 600, 200, steps=60, method=method)
    exact = log_evidence(plain, H, SEEN, NOISE)
    assert drawn.log_evidences.shape == (3,)
    assert abs(drawn.log_evidence - exact) < 0.15
    mean = float(drawn.log_evidences.logsumexp(0)) - math.log(3)
    assert math.isclose(drawn.log_evidence, mean)


def test_an_observation_that_says_nothing_leaves_the_ancestral_sampler():
    drawn = twisted(mixture(), H, SEEN, 1e6, 6, nfe=12)
    plain = sample(mixture(), 6, "ancestral", nfe=12)
    torch.testing.assert_close(drawn.x, plain.x)
    torch.testing.assert_close(drawn.times, plain.times)
    torch.testing.assert_close(drawn.ess, torch.full((12, 1), 6.0, dtype=torch.float64))
    assert drawn.resamplings.tolist() == [0] and drawn.nfe == plain.nfe == 12
    assert drawn.network_calls == 2 * 11 + 1


def test_few_effective_particles_are_warned_of():
    """Five steps over the whole of the noise are too few, and sixty are enough."""
    args = (mixture(Karras()), H, SEEN, 0.05)
    with pytest.warns(
        DegeneracyWarning, match=r"the 64 particles of a run count for \d\.\d in the"
    ):
        drawn = twisted(*args, 4, 64, nfe=5)
    assert float(drawn.ess[-1].min()) < 8
    assert float(twisted(*args, 4, 64, nfe=60).ess[-1].min()) > 8


def test_runs_do_not_know_of_each_other_nor_of_the_batch():
    args = (mixture(), H, SEEN, NOISE)
    whole = twisted(*args, 12, 4, nfe=10, seed=3)
    assert whole.particles == 4 and whole.ess.shape == (10, 3)
    torch.testing.assert_close(twisted(*args, 4, 4, nfe=10, seed=3).x, whole.x[:4])
    torch.testing.assert_close(twisted(*args, 12, 4, nfe=10, seed=3, batch=5).x, whole.x)
    assert not torch.equal(twisted(*args, 12, 4, nfe=10, seed=4).x, whole.x)
    few = twisted(*args, 3, 50, nfe=30, seed=3)
    assert few.x.shape == (3, 4) and few.ess.shape == (30, 1)


@pytest.mark.parametrize("count", [1, 7, 50])
def test_particles_are_drawn_as_often_as_they_weigh(count):
    """Systematic: each as often as count times its weight, up to less than one."""
    cloud = _Cloud(3, 50, torch.device("cpu"))
    log = 2 * numbers(150)
    cloud.weigh(log)
    weights = torch.softmax(log.view(3, 50), 1)
    index = cloud.draw(count, Rng(0))
    often = torch.bincount(index, minlength=150).view(3, 50)
    assert index.numel() == 3 * count
    assert float((often - count * weights).abs().max()) < 1
    torch.testing.assert_close(cloud.log_means, log.view(3, 50).logsumexp(1) - math.log(50))


def test_only_runs_that_need_it_are_drawn_anew():
    cloud = _Cloud(2, 4, torch.device("cpu"))
    cloud.weigh(torch.tensor([0.0, 0, 0, 0, 9, 0, 0, math.nan]))
    index = cloud.draw(4, Rng(0), cloud.ess < 2)
    assert index.tolist() == [0, 1, 2, 3, 4, 4, 4, 4] and cloud.resamplings.tolist() == [0, 1]


def test_labels_choose_the_class():
    labelled = mixture(labels=torch.tensor([0, 1, 1]))
    drawn = twisted(labelled, H, SEEN, NOISE, 40, nfe=30, y=0)
    one = exact_posterior(mixture(), H, SEEN, NOISE).means[0]
    assert float((drawn.x - one).norm(dim=1).max()) < 2.0
    with pytest.raises(ValueError, match="has no components of any weight"):
        twisted(labelled, H, SEEN, NOISE, 4, nfe=5, y=7)
    with pytest.raises(ValueError, match=r"got particles of several labels, .* wanted one label"):
        twisted(labelled, H, SEEN, NOISE, 4, nfe=5, y=[0, 1, 1, 0])
    same = twisted(labelled, H, SEEN, NOISE, 4, nfe=5, y=[1, 1, 1, 1])
    assert torch.equal(same.x, twisted(labelled, H, SEEN, NOISE, 4, nfe=5, y=1).x)


def test_units_are_those_of_the_data():
    pixels, h = mixture(), H.rows()
    pixels.scaling = Scaling.pixels()
    seen = 127.5 * (SEEN + h.sum(1))
    got = twisted(pixels, H, seen, 127.5 * NOISE, 5, nfe=8)
    wanted = twisted(mixture(), H, SEEN, NOISE, 5, nfe=8)
    torch.testing.assert_close(got.x, 127.5 * (wanted.x + 1))
    pushed = sample(pixels, 5, DPS(H, seen), nfe=8).x
    torch.testing.assert_close(pushed, 127.5 * (sample(mixture(), 5, DPS(H, SEEN), nfe=8).x + 1))


def test_a_run_without_any_weight_says_so():
    class Broken(Mixture):
        def posterior(self, x, t, y=None):
            x0, n = super().posterior(x, t, y)
            return x0 * math.nan, n

    plain = mixture()
    broken = Broken(torch.ones(3), plain.means, torch.full((3,), 0.4), plain.schedule)
    drawn = twisted(broken, H, SEEN, NOISE, 4, nfe=5)
    assert drawn.status.tolist() == [2] * 4 and drawn.log_evidence == -math.inf
    assert "not finite" in drawn.shortfall()


@pytest.mark.parametrize(
    ("field", "observation", "error", "words"),
    [
        (mixture(noise=StudentT(8.0)), SEEN, TypeError, "densities of normal steps"),
        (PoissonField(mixture(noise=StudentT(8.0))), SEEN, TypeError, "take conditioned"),
        (MonoFlow(critic_network((4,))), SEEN, TypeError, "states no E"),
        (mixture(), numbers(5, 2), ValueError, "got 5 observations; wanted one"),
        (mixture(), numbers(3), ValueError, "got an observation of shape"),
    ],
)
def test_what_twisted_smc_cannot_do_is_refused(field, observation, error, words):
    with pytest.raises(error, match=words):
        twisted(field, H, observation, NOISE, 4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n": 0}, "got n=0"),
        ({"n": 4, "particles": 0}, "got particles=0"),
        ({"n": 4, "nfe": 1}, "does not pay for one step"),
        ({"n": 4, "nfe": 9, "steps": 9}, "give one of the two"),
        ({"n": 4, "method": "dps"}, "wanted pigdm or tmpd"),
    ],
)
def test_counts_that_do_not_fit_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        twisted(mixture(), H, SEEN, NOISE, **arguments)


def test_dps_with_a_vanishing_step_is_the_ancestral_sampler():
    pushed = sample(mixture(), 6, DPS(H, SEEN, step=1e-9), nfe=12)
    plain = sample(mixture(), 6, "ancestral", nfe=12)
    torch.testing.assert_close(pushed.x, plain.x)
    assert pushed.nfe == 12 and pushed.network_calls == 2 * 11 + 1


def test_dps_is_drawn_to_what_was_seen():
    points = Empirical(numbers(40, 4, seed=4), VP())
    far = (H(sample(points, 50, "ancestral", nfe=30).x) - SEEN).norm(dim=1).mean()
    pushed = sample(points, 50, DPS(H, SEEN, step=0.1), nfe=30)
    near = (H(pushed.x) - SEEN).norm(dim=1).mean()
    assert float(near) < 0.7 * float(far)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: DPS(H, SEEN, step=0.0), ValueError, "positive finite"),
        (lambda: sample(mixture(), 3, DPS(mask(torch.ones(3)), SEEN)), ValueError, "operator of"),
        (
            lambda: sample(mixture(noise=StudentT(3.0)), 3, DPS(H, SEEN)),
            TypeError,
            "dps adds normal noise",
        ),
    ],
)
def test_what_dps_cannot_do_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def distance(x, y):
    """The 2-Wasserstein distance of two sets of as many points."""
    costs = torch.cdist(x.double(), y.double()).square()
    return math.sqrt(costs[linear_sum_assignment(costs.numpy())].mean())


@pytest.mark.slow
def test_twisted_smc_is_as_near_as_exact_draws_and_pigdm_alone_is_not():
    """In W2 on a mixture of six in eight coordinates, of which two were seen."""
    weights, made = torch.tensor([0.3, 0.2, 0.15, 0.15, 0.1, 0.1]), mask(torch.arange(8) < 2)
    stds = 0.1 + 0.25 * torch.rand(6, 8, generator=torch.Generator().manual_seed(3))
    plain = Mixture(weights, numbers(6, 8, seed=3), stds, Karras(0.02, 20.0))
    sums = dict.fromkeys(("floor", "twisted", "pigdm"), 0.0)
    for seed in range(3):
        seen = plain.sample(1, Rng(seed + 10))[0, :2] + 0.2 * numbers(2, seed=seed)
        exact = exact_posterior(plain, made, seen, 0.2)
        field = conditioned(plain, made, seen, 0.2)
        for again in range(3):
            target = exact.sample(200, Rng(100 + again))
            sums["floor"] += distance(exact.sample(200, Rng(200 + again)), target)
            by_particles = twisted(plain, made, seen, 0.2, 200, nfe=20, seed=again)
            sums["twisted"] += distance(by_particles.x, target)
            sums["pigdm"] += distance(sample(field, 200, nfe=20, seed=again).x, target)
    assert sums["twisted"] < 1.3 * sums["floor"] < sums["pigdm"] / 1.3


def test_dps_says_what_holds_for_other_noise():
    """It has no eta to set to 0."""
    field = Empirical(torch.eye(2).double(), Karras(0.05, 20.0), StudentT(4.0))
    with pytest.raises(
        TypeError, match=r"noise is StudentT.*; use diffode\.fields\.conditioned"
    ) as e:
        sample(field, 3, DPS(mask([True, False]), [0.5]), nfe=4)
    assert "eta" not in str(e.value)
