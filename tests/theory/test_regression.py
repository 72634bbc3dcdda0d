"""The PFGM paper's own objective: its rule, its perturbation, its target, and what is biased."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from diffode.data import load
from diffode.fields import Empirical, Karras
from diffode.fields.normalised import invert_norm
from diffode.priors import StudentT
from diffode.rng import Rng
from diffode.runs import loading
from diffode.runs.building import build
from diffode.runs.run import fit
from diffode.sampling.drawing import sample
from diffode.training import checkpoint, data_stats
from diffode.training.regression import extent, field_target
from diffode.training.trainer import train

FIXTURE = Path(__file__).parents[1] / "fixtures" / "field_target.npz"


@pytest.mark.parametrize(
    ("norm", "dim", "m", "z_max", "cap"),
    [(30, 3072, 287, 38.57, 2679.1), (15, 64, 301, 58.3, 585), (1.5, 2, 228, 6.7, 12.0)],
)
def test_rule_for_the_extent(norm, dim, m, z_max, cap):
    reach = extent(norm, dim)
    assert reach.m == m
    assert reach.z_max == pytest.approx(z_max, rel=8e-3)
    assert reach.norm_cap == pytest.approx(cap, rel=8e-3)


def test_rule_refuses_data_below_its_noise():
    with pytest.raises(ValueError, match=r"too small for sigma 0\.01"):
        extent(1e-3, 2)


def test_share_of_the_plane_prior_above_the_papers_cap():
    assert 1 - StudentT(1.0, scale=40.0).radius_cdf(3000.0, 3072) == pytest.approx(0.54, abs=5e-4)


def test_target_equals_direct_differences():
    data = {k: torch.from_numpy(v) for k, v in np.load(FIXTURE).items()}
    target = field_target(data["points"], data["height"], data["charges"], 5.0)
    error = (target - data["target"]).norm(dim=1) / data["target"].norm(dim=1)
    assert float(error.max()) < 5e-6


def test_target_of_many_charges_needs_little_memory():
    """128 points, 4,096 charges in 3,072 dimensions: differences alone would be 6 GB."""
    from torch.profiler import ProfilerActivity, profile

    x, charges = torch.randn(128, 3072), torch.randn(4096, 3072)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        field_target(x, torch.ones(128), charges, 5.0)
    peak = running = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            running += event.nbytes()
            peak = max(peak, running)
    assert 0 < peak < 150e6


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_norm_is_inverted_exactly(gamma):
    z = torch.tensor([1e-3, 0.5, 1.0, 4.9, 4.9, 30.0], dtype=torch.float64)
    a = torch.tensor([0.05, 1e-6, 5.0, 50.0, 3.0, 200.0], dtype=torch.float64)
    n1 = a / ((a.square() + z.square()).sqrt() + gamma)
    torch.testing.assert_close(invert_norm(n1, z, gamma), a, rtol=1e-9, atol=1e-12)


def test_perturbation_follows_the_paper():
    """Well inside its range of scales, and unrestricted, R/z has the Poisson kernel's law."""
    x = load("digits").train.repeat(20, 1, 1, 1)
    objective = build("poisson", (1, 8, 8), None, data_stats(x), objective="regression", width=8)
    point, z = objective.perturb(x, Rng(0))
    radius = (point - x).flatten(1).norm(dim=1)
    assert float(radius.max()) < objective.reach.norm_cap * 2
    free = build(
        "poisson", (1, 8, 8), None, data_stats(x), objective="regression", width=8, restrict=False
    )
    point, z = free.perturb(x, Rng(0))
    ratio = (point - x).flatten(1).norm(dim=1) / z
    inside = (z > 0.05) & (z < 1)
    law = StudentT(1.0)
    u = [law.radius_cdf(float(r), 64) for r in ratio[inside]]
    assert kstest(u, "uniform").statistic < 0.03


def test_restriction_is_that_of_the_published_code():
    """It concerns the 38.3 % of draws with |eps_z| < sigma / 2, not 69.1 % with eps_z below it."""
    x = load("digits").train.repeat(20, 1, 1, 1)
    built = [
        build("poisson", (1, 8, 8), None, data_stats(x), objective="regression", width=8, **o)
        for o in ({"restrict": False}, {"restrict": True})
    ]
    (_, free), (_, restricted) = (o.perturb(x, Rng(0)) for o in built)
    changed = (restricted / free - 1).abs() > 1e-9
    assert float(changed.double().mean()) == pytest.approx(math.erf(0.5 / math.sqrt(2)), abs=0.015)
    assert bool((restricted <= free * (1 + 1e-9)).all())


def test_runs_that_regressed_single_forces_are_sampled_and_not_trained(tmp_path):
    x = load("moons").train[:200]
    old = build("poisson", (2,), None, data_stats(x), objective="single", width=8, depth=1)
    checkpoint.save(old, tmp_path / "old.safetensors")
    field = loading.load(tmp_path / "old.safetensors").field
    assert sample(field, 8, nfe=5).x.isfinite().all()
    for resume in (None, tmp_path / "old.safetensors"):
        with pytest.raises(
            ValueError, match=r"objective=single is withdrawn, .* use denoising or"
        ):
            next(train(old, x, steps=1, batch=16, device="cpu", resume=resume))
    with pytest.raises(ValueError, match="objective=single is withdrawn"):
        fit("poisson", "moons", objective="single", out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_normalised_batch_target_is_biased_and_the_denoiser_is_not():
    """Of 2 and of 128 charges on a ring, at x = (1, .6), z = .3: biased and nearly not."""
    angle = torch.arange(8) * (math.pi / 4)
    ring = torch.stack((angle.cos(), angle.sin()), 1).double() * 2
    field = Empirical(ring, Karras(), StudentT(1.0))
    x, z = torch.tensor([[1.0, 0.6]], dtype=torch.float64), 0.3
    exact = field.denoise(x, z)
    logits = -1.5 * ((x - ring).square().sum(1) + z**2).log()
    generator = torch.Generator().manual_seed(0)
    draws = 20_000
    own = torch.multinomial(logits.softmax(0), draws, True, generator=generator)
    full = field_target(x, torch.tensor([z]), ring, 5.0)[0]
    biases = {}
    for n in (2, 128):
        others = torch.randint(8, (draws, n - 1), generator=generator)
        index = torch.cat((own[:, None], others), 1)
        w = logits[index].softmax(1)
        mean = (w[..., None] * ring[index]).sum(1)
        gap = (mean.mean(0) - exact[0]).abs() / (mean.std(0) / math.sqrt(draws))
        assert float(gap.max()) < 4, n
        v = torch.cat((mean - x, torch.full((draws, 1), -z, dtype=torch.float64)), 1)
        target = math.sqrt(2) * v / (v.norm(dim=1, keepdim=True) + 5)
        biases[n] = float((target.mean(0) - full).norm() / full.norm())
    assert biases[2] > 0.04 and biases[128] < 0.01
