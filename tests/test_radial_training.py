"""The recipe of radial noise: its law, EDM as a case of it, and what it refuses."""

import pytest
import torch
from scipy.stats import kstest

from diffode import build, load, log_prob, training
from diffode.data.stats import Stats, data_stats
from diffode.fields import EmpiricalRadial, GaussianToStudent
from diffode.priors import Ball, Normal, is_student
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


def test_of_one_point_the_untrained_field_is_the_radial_flow():
    """The network adds nothing yet, and the data has no width: what is left is the path."""
    x = 1e-4 * torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) + 2
    field = build("morph", (3,), stats=data_stats(x), **SMALL, dof=4.0, sigma_min=0.1).field
    exact = EmpiricalRadial(x.mean(0, keepdim=True), field.path)
    assert is_student(field.prior) and field.prior.dof == 4.0
    for t in (1.0, 0.6, 0.0):
        there = exact.corrupt(exact.sample(20, Rng(0)), t, Rng(1))
        torch.testing.assert_close(
            field.velocity(there, t), exact.velocity(there, t), rtol=1e-3, atol=1e-3
        )
    t = torch.tensor([1.0, 0.3])
    rows = torch.cat([field.velocity(there[k : k + 1], t[k]) for k in range(2)])
    torch.testing.assert_close(field.velocity(there[:2], t), rows)


def test_draws_at_many_times_follow_the_law_of_each():
    path = GaussianToStudent(3.0, 0.1, 10.0)
    for t in (0.0, 0.5, 1.0):
        r = path.draw(torch.full((2000,), t), (2000, 3), Rng(2)).norm(dim=1)
        u = [path.law(t, 3).radius_cdf(v, 3) for v in r.tolist()]
        assert kstest(u, "uniform").pvalue > 0.01


def test_an_exponent_belongs_to_the_generalised_normal_law(tmp_path, capsys):
    line = refused(
        capsys, "train", "radial", "moons", "--set", "law=ball", "--set", "exponent=3",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert "got exponent=3 with law=ball; it is for law=generalised" in line


def test_a_likelihood_of_noise_with_an_edge_is_refused_in_one_line(tmp_path, capsys):
    out = made(tmp_path, "radial", "moons", "--set", "law=ball")
    assert "noise with an edge" in refused(
        capsys, "likelihood", out, "--device", "cpu", "--n", "2"
    )


def test_guidance_names_morph_among_what_it_cannot_guide(tmp_path, capsys):
    out = made(tmp_path, "morph", "moons")
    line = refused(capsys, "sample", out, "--guidance", "2", "--device", "cpu")
    assert "gan, morph, the MonoFlows, interpolants and fields of tokens cannot be guided" in line


def test_parts_are_found_by_their_names(monkeypatch):
    """As a reader writes them: no other import has to come first."""
    import diffode.solvers

    assert "RadialRegression" in training.__all__ and training.RadialRegression.comparable
    monkeypatch.delattr(diffode.solvers, "reverse", raising=False)
    assert diffode.solvers.reverse.__name__ == "diffode.solvers.reverse"
    assert not hasattr(diffode.solvers, "nowhere")
