"""The bound on a trained flow's distance from the true one, where both sides are known."""

import pytest
import torch

from diffode.bench import wasserstein_bound
from diffode.bench.twin import exact_law
from diffode.data.toys import BLOBS, EIGHT_GAUSSIANS, Gaussians
from diffode.fields import VP, Karras, PoissonField, Rectified
from diffode.priors import StudentT


def changed(law, shift=(0.0, 0.0), std=None):
    """The law moved and widened: a field with a known error."""
    means = law.means + torch.tensor(shift).double()
    return Gaussians(law.weights, means, law.std if std is None else std)


def one(std=0.7, mean=(0.0, 0.0)):
    return Gaussians(torch.ones(1).double(), torch.tensor([mean]).double(), std)


@pytest.mark.parametrize(
    ("schedule", "noise"),
    [
        (VP(), None),
        (Rectified(), None),
        (Karras(0.002, 80.0), None),
        (Karras(0.01, 2.0), None),
        (Karras(0.002, 40.0), StudentT(64.0)),
    ],
)
@pytest.mark.parametrize("law", [EIGHT_GAUSSIANS, BLOBS])
def test_it_holds_on_mixtures(schedule, noise, law):
    exact = exact_law(law, schedule, noise)
    wrong = exact_law(changed(law, (0.05, -0.02), 1.1 * law.std), schedule, noise)
    bound = wasserstein_bound(wrong, exact, n=30, steps=40)
    assert 0 < bound.w2 <= bound.paired * (1 + 1e-9)
    assert bound.holds
    assert bound.ratio > 2  # many modes: what the articles bound is far away
    assert bound.value == pytest.approx(bound.start + bound.model)


def test_it_is_tight_for_a_shifted_gaussian():
    """Linear flows, all errors along one line: every inequality is an equality."""
    exact = exact_law(one(), Rectified())
    wrong = exact_law(one(mean=(0.3, 0.4)), Rectified())
    bound = wasserstein_bound(wrong, exact, n=30, steps=200)
    assert bound.w2 == pytest.approx(0.5, rel=2e-3)  # its end is at t = 0.001
    assert bound.paired == pytest.approx(bound.w2, rel=1e-3)
    assert bound.value == pytest.approx(bound.w2, rel=5e-3)
    assert bound.by_rows == pytest.approx(bound.value, rel=1e-6)
    assert bound.holds


def test_the_lipschitz_constant_of_a_gaussian_is_known():
    """In the angle of std 0.7 a Gaussian of that std stands still, a wider one grows."""
    same = wasserstein_bound(exact_law(one(), VP()), exact_law(one(), VP()), n=20, steps=40)
    assert float(same.lipschitz.abs().max()) < 1e-9
    assert same.exponent == pytest.approx(0, abs=1e-9)
    law, wide = one(), one(1.4)
    bound = wasserstein_bound(exact_law(wide, VP()), exact_law(law, VP()), n=20, steps=40)
    t = bound.times  # in the angle of the wide field, std 1.4, which stands still too
    assert float(bound.lipschitz.abs().max()) < 1e-9
    assert float(bound.errors.max()) > 0.05
    assert float(t[0]) > float(t[-1]) >= 0


def test_a_change_of_clock_changes_nothing():
    exact = exact_law(EIGHT_GAUSSIANS, Karras(0.01, 10.0))
    wrong = exact_law(changed(EIGHT_GAUSSIANS, (0.05, 0.0)), Karras(0.01, 10.0))
    angle, log = (
        wasserstein_bound(wrong, exact, n=20, steps=120, clock=clock, kind="logsnr")
        for clock in ("theta", "logsnr")
    )
    assert log.value == pytest.approx(angle.value, rel=0.02)
    assert log.by_rows == pytest.approx(angle.by_rows, rel=0.02)
    assert log.exponent != pytest.approx(angle.exponent, rel=0.2)  # the pieces do change


def test_no_error_and_no_mismatch_leave_nothing():
    exact = exact_law(EIGHT_GAUSSIANS, Rectified())
    bound = wasserstein_bound(exact, exact, n=20, steps=20)
    assert bound.value == bound.paired == 0


def test_a_prior_that_fits_badly_is_the_start_s_share():
    near, far = (
        wasserstein_bound(*[exact_law(BLOBS, Karras(0.01, top))] * 2, n=20, steps=40)
        for top in (50.0, 2.0)
    )
    assert near.model == far.model == 0
    assert far.start > 3 * near.start
    assert near.holds and far.holds


def test_a_poisson_flow_starts_where_its_twin_does():
    schedule, noise = Karras(0.002, 20.0), StudentT(1.0)
    exact = exact_law(BLOBS, schedule, noise)
    wrong = PoissonField(exact_law(changed(BLOBS, (0.1, 0.0)), schedule, noise))
    bound = wasserstein_bound(wrong, exact, n=20, steps=30)
    assert bound.start == 0 < bound.model
    assert bound.holds
    assert "times the distance" in str(bound)


def test_refusals():
    with pytest.raises(ValueError, match=r"build it with field\.schedule"):
        wasserstein_bound(exact_law(BLOBS, VP()), exact_law(BLOBS, Rectified()))
