"""Four unequal blobs: the frequencies that show whether a trained field is the right one."""

import pytest
import torch

from diffode.data.toys import BLOBS
from diffode.runs.run import fit
from diffode.sampling.drawing import sample

WANTED = torch.tensor([0.50, 0.25, 0.15, 0.10])


def worst_frequency(name, **options):
    """The largest error of a blob's frequency among 20,000 samples of a freshly trained field."""
    run = fit(name, "blobs", width=128, depth=3, steps=1500, **options)
    x = sample(run.field, 20_000, nfe=79, batch=5000, seed=5).x
    blob = torch.cdist(x, BLOBS.means.float()).argmin(1)
    share = blob.bincount(minlength=4) / len(x)
    return float((share - WANTED).abs().max())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"), [("poisson", {}), ("pfgmpp", {"dof": 4}), ("edm", {})]
)
def test_frequencies_are_right(name, options):
    assert worst_frequency(name, **options) < 0.03


@pytest.mark.slow
def test_frequencies_are_wrong_without_the_weight():
    assert worst_frequency("poisson", weighted=False) > 0.06
