"""The default solver in k-diffusion's signature, on exact models."""

import pytest
import torch

from diffode.fields import AffineField, Karras, Mixture, Rectified
from diffode.interop import sample_diffode
from diffode.priors import Normal
from diffode.rng import Rng
from diffode.solvers import get_solver, grid

D = torch.float64
MEANS = torch.tensor([[1.0, -0.6], [-1.0, 0.6], [0.2, 1.1]], dtype=D)


def law(schedule):
    return Mixture(torch.full((3,), 1 / 3), MEANS, torch.full((3,), 0.3), schedule)


class Model:
    """What an interface hands to a sampler: points and a level to the denoised points."""

    def __init__(self, field):
        self.field, self.calls = field, []

    def __call__(self, x, sigma, gain=1.0):
        self.calls.append(float(sigma[0]))
        assert sigma.shape == (len(x),)
        return gain * self.field.denoise(x, sigma)


def karras(steps):
    u = torch.linspace(0, 1, steps, dtype=D)
    return torch.cat(((80 ** (1 / 7) + u * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7, u[:1]))


def test_it_is_our_solver_on_the_given_levels():
    field, sigmas = law(Karras()), karras(12)
    x, model = 80 * Rng(0).normal("x", (5, 2), D), Model(law(Karras()))
    seen = []
    std, wide = field.moments[1], field.principal_std
    told = {"std": std, "principal_std": wide, "guidance_scale": 1.0}
    end = sample_diffode(model, x, sigmas, callback=seen.append, disable=True, **told)
    assert model.calls == sigmas[:-1].tolist()
    assert [s["i"] for s in seen] == list(range(12)) and seen[0]["x"] is x

    class Known(AffineField):  # the same answers of data that is taken to be about 0
        principal_std = wide

        def posterior(self, x, t, y=None):
            return field.posterior(x, t)

    known = Known(Karras(), Normal(), torch.zeros(2, dtype=D), std)
    ours = get_solver("trig")(known, x, sigmas, to_zero_noise=True).x
    assert torch.allclose(end, ours, atol=1e-9)


def test_levels_of_its_own_and_an_end_above_zero():
    x, model = 80 * Rng(0).normal("x", (5, 2), D), Model(law(Karras()))
    end = sample_diffode(model, x, karras(30), own_grid=True)
    fine = get_solver("trig")(law(Karras()), x, grid(law(Karras()), 200, "mixed")).x
    assert len(model.calls) == 30
    assert torch.allclose(end, fine, atol=0.02)
    partly = sample_diffode(model, x, torch.logspace(0, 1, 20, dtype=D).flip(0) * 8)
    on_the_way = get_solver("trig")(law(Karras()), x, torch.linspace(80, 8, 300, dtype=D)).x
    assert torch.allclose(partly, on_the_way, atol=0.02)


def test_the_straight_path_is_asked_of_the_model():
    class CONST:
        pass

    class ModelSamplingFlux(CONST):
        pass

    model, x = Model(law(Rectified())), Rng(0).normal("x", (5, 2), D)
    sigmas = torch.linspace(1, 0, 21, dtype=D)
    told = sample_diffode(model, x, sigmas, flow=True)
    inner = type("Inner", (), {"model_sampling": ModelSamplingFlux()})()
    model.inner_model = type("Wrapper", (), {"inner_model": inner})()
    assert torch.equal(sample_diffode(model, x, sigmas), told)
    fine = get_solver("trig")(law(Rectified()), x, grid(law(Rectified()), 200, "mixed")).x
    assert torch.allclose(told, fine, atol=0.05)


def test_arguments_of_the_model_and_half_precision():
    model, x = Model(law(Karras())), 80 * Rng(0).normal("x", (5, 2), D)
    plain = sample_diffode(model, x, karras(10))
    assert not torch.allclose(sample_diffode(model, x, karras(10), {"gain": 0.5}), plain)
    half = sample_diffode(model, x.to(torch.bfloat16), karras(10))
    assert half.dtype == torch.bfloat16 and bool(half.isfinite().all())


@pytest.mark.parametrize("sigmas", [[1.0], [1.0, 2.0], [[1.0, 0.5]], [1.0, 1.0, 0.0]])
def test_levels_that_do_not_fall_are_refused(sigmas):
    with pytest.raises(ValueError, match="do not fall"):
        sample_diffode(Model(law(Karras())), torch.zeros(1, 2), torch.tensor(sigmas))
