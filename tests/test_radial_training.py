"""The recipe of radial noise: its law, EDM as a case of it, and what it refuses."""

import pytest
import torch

from diffode import build, load, log_prob
from diffode.data.stats import Stats
from diffode.priors import Ball, Normal
from diffode.rng import Rng
from diffode.training import Batch
from tests.runs import made, refused

SMALL = {"width": 16, "depth": 1}


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "GeneralisedNormal(exponent=1, "),
        ({"exponent": 0.7}, "GeneralisedNormal(exponent=0.7, "),
        ({"law": "ball"}, "Ball(width="),
        ({"law": "logistic", "schedule": "rectified"}, "RadialLogistic(width="),
    ],
)
@pytest.mark.parametrize("shape", [(2,), (1, 4, 4)])
def test_noise_of_the_law_has_the_rms_of_normal_noise(options, name, shape):
    field = build("radial", shape, **SMALL, **options).field
    assert repr(field.noise).startswith(name)
    n = field.noise.sample((20_000, *shape), Rng(0))
    assert float(n.square().mean().sqrt()) == pytest.approx(1, abs=0.02)


def test_with_the_exponent_two_it_is_edm():
    """The same network and noise levels, and noise of the same law."""
    stats = Stats.unit((2,))
    ours, edm = (
        build(name, (2,), stats=stats, **SMALL, **options)
        for name, options in (("radial", {"exponent": 2.0}), ("edm", {}))
    )
    x, rng = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0)), Rng(0)
    one, two = (float(o("field", Batch(x), rng)[0].detach()) for o in (ours, edm))
    assert one == pytest.approx(two, rel=0.05)
    torch.testing.assert_close(ours.field.velocity(x[:5], 1.0), edm.field.velocity(x[:5], 1.0))
    x = x[:5].double()
    torch.testing.assert_close(ours.field.noise.log_prob(x), Normal().log_prob(x))


def test_a_run_keeps_its_law(tmp_path):
    out = made(tmp_path, "radial", "moons", "--set", "law=ball", "--set", "schedule=rectified")
    field = load(out).field
    assert isinstance(field.noise, Ball) and field.noise.width == pytest.approx(2.0)
    with pytest.raises(TypeError, match="makes a velocity jump"):
        log_prob(field, torch.zeros(1, 2))


def test_an_exponent_belongs_to_the_generalised_normal_law(tmp_path, capsys):
    line = refused(
        capsys, "train", "radial", "moons", "--set", "law=ball", "--set", "exponent=3",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert "got exponent=3 with law=ball; it is for law=generalised" in line
