"""Functions of other libraries as fields, and fields as theirs: exact fields come back."""

import math
from itertools import pairwise

import pytest
import torch

import diffode
from diffode.fields import VP, Empirical, Karras, Mixture, PoissonField, Rectified, rescheduled
from diffode.interop import as_azula, as_k_diffusion, from_denoiser, from_velocity
from diffode.interop.velocities import VELOCITIES
from diffode.priors import StudentT
from diffode.solvers import get_solver
from diffode.testing import CHECKS, check_field, diagnose
from tests.broken import points

MODES = torch.tensor([[-1.0, 0.2], [1.0, 0.5], [0.0, -1.5]]).double()


def mixture(schedule, noise=None):
    return Mixture(torch.ones(3), MODES, torch.full((3,), 0.4), schedule, noise)


STRAIGHT, DENOISER = mixture(Rectified()), mixture(Karras())


def spoken(convention, field=STRAIGHT):
    """The velocity of a field on the straight path as a library calls it."""

    def flow_matching(x, s, y=None):
        return -field.velocity(x, 1 - s, y)

    return {
        "flow_matching": flow_matching,
        "rectified_flow": flow_matching,
        "torchcfm": lambda s, x, y=None: flow_matching(x, s, y),
        "diffusers": lambda x, t, y=None: field.velocity(x, t / 1000, y),
        "diffode": field.velocity,
    }[convention]


def gap(a, b):
    return float((a - b).abs().max() / b.abs().max())


def states(field, n=5):
    """States of a field's path, each at a time of its own."""
    first, last = field.span
    t = torch.linspace(0.05, 0.95, n, dtype=torch.float64) * (last - first) + first
    x0 = field.sample(n, diffode.Rng(1)).double()
    return field.corrupt(x0, t, diffode.Rng(2))[0], t


@pytest.mark.parametrize("name", VELOCITIES)
def test_a_velocity_comes_back_through_its_convention(name):
    field = from_velocity(spoken(name), (2,), name, dtype=torch.float64)
    x, t = states(STRAIGHT)
    assert gap(field.velocity(x, t), STRAIGHT.velocity(x, t)) < 1e-6
    for own, exact in zip(field.posterior(x, t), STRAIGHT.posterior(x, t), strict=True):
        assert gap(own, exact) < 1e-6
    assert gap(field.score(x, t), STRAIGHT.score(x, t)) < 1e-6


def test_such_a_field_keeps_the_contract_and_all_else_works_with_it():
    field = from_velocity(spoken("torchcfm"), (2,), "torchcfm", std=1.0, dtype=torch.float64)
    assert len(check_field(field)) == len(CHECKS)
    own, exact = (diffode.sample(f, 64, nfe=20, seed=3).x for f in (field, STRAIGHT))
    assert float((own - exact).abs().mean()) < 0.02
    x = STRAIGHT.sample(4, diffode.Rng(5)).double()
    own, exact = (diffode.log_prob(f, x).nats for f in (field, STRAIGHT))
    assert float((own - exact).abs().max()) < 1e-3


def test_a_denoiser_comes_back_through_k_diffusion():
    on_vp = mixture(VP())
    low, high = on_vp.levels
    field = from_denoiser(
        as_k_diffusion(on_vp), (2,), "k-diffusion", sigma_min=low, sigma_max=high,
        dtype=torch.float64,
    )  # fmt: skip
    exact = rescheduled(on_vp, Karras(low, high))
    x, t = states(mixture(Karras(low, high)))
    assert gap(field.velocity(x, t), exact.velocity(x, t)) < 1e-6
    assert gap(field.denoise(x, t), exact.denoise(x, t)) < 1e-6


def test_euler_in_k_diffusions_way_is_ddim():
    model = as_k_diffusion(mixture(VP()))
    sigmas = torch.logspace(1, math.log10(model.sigma_min), 8, dtype=torch.float64)
    x = 10 * torch.randn(6, 2, generator=torch.Generator().manual_seed(0)).double()
    alpha, times = model.field.schedule.alpha, model.field.schedule.time(sigmas)
    wanted = get_solver("ddim")(model.field, x * alpha(times[0]), times).x
    for sigma, after in pairwise(sigmas):
        x = x + (x - model(x, sigma.expand(6))) / sigma * (after - sigma)
    assert gap(x * alpha(times[-1]), wanted) < 1e-6


def test_labels_reach_the_function_as_its_library_has_them():
    labels = torch.tensor([0, 1, 1])
    law = Empirical(MODES, Karras(), labels=labels)
    x, t, y = MODES + 0.3, torch.full((3,), 0.7, dtype=torch.float64), torch.tensor([1, 0, 1])
    wanted = law.denoise(x, t, y)
    functions = {
        "edm": lambda x, sigma, one_hot: law.denoise(x, sigma, one_hot.argmax(1)),
        "k-diffusion": lambda x, sigma, class_cond: law.denoise(x, sigma, class_cond),
    }
    for name, function in functions.items():
        field = from_denoiser(function, (2,), name, classes=2, dtype=torch.float64)
        assert gap(field.denoise(x, t, y), wanted) < 1e-6
    assert gap(as_k_diffusion(law)(x, t, class_cond=y), wanted) < 1e-6
    straight = Empirical(MODES, Rectified(), labels=labels)
    field = from_velocity(
        spoken("flow_matching", straight), (2,), "flow_matching", classes=2, dtype=torch.float64
    )
    assert gap(field.velocity(x, t, y), straight.velocity(x, t, y)) < 1e-6


def test_a_network_is_called_in_its_own_type_and_set_to_evaluate():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 2)

        def forward(self, x, t):
            assert not self.training and x.dtype == torch.float32
            return self.layer(torch.cat((x, t[:, None]), 1))

    field = from_velocity(Net(), (2,), "flow_matching")
    assert len(check_field(field)) == len(CHECKS)
    assert sum(p.numel() for p in field.parameters()) == 8


def test_azula_takes_a_field_and_gives_one_back():
    pytest.importorskip("azula")
    from azula.sample import DDIMSampler

    on_vp = mixture(VP())
    model = as_azula(on_vp)
    field = from_denoiser(model, (2,), "azula")
    x, t = states(on_vp)
    s = (t - on_vp.span[1]) / (on_vp.span[0] - on_vp.span[1])
    for own, exact in zip(field.posterior(x, s), on_vp.posterior(x, t), strict=True):
        assert gap(own, exact) < 1e-6
    sampler = DDIMSampler(model, steps=8, silent=True, dtype=torch.float64)
    start = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)).double()
    times = torch.linspace(*on_vp.span, 9, dtype=torch.float64)
    wanted = get_solver("ddim")(on_vp, start, times).x
    assert gap(sampler(start), wanted) < 1e-6
    assert len(check_field(field)) == len(CHECKS)


# -------------------------------------------------------------------- what is wrong, by its name


def found(field, check="velocity"):
    report = diagnose(field, points())
    (finding,) = (f for f in report.findings if f.check == check)
    return finding


def exact(schedule, noise=None):
    return Empirical(points(), schedule, noise)


@pytest.mark.parametrize(
    ("given", "stated", "words"),
    [
        ("flow_matching", "diffode", "a flow_matching velocity: time and sign are reversed"),
        ("torchcfm", "flow_matching", "a torchcfm velocity: it is called with (t, x)"),
        ("diffusers", "flow_matching", "a diffusers velocity: time and sign are reversed, time"),
        ("diffode", "rectified_flow", "a diffode velocity: time and sign are reversed"),
    ],
)
def test_check_names_the_convention_of_a_velocity(given, stated, words):
    function = spoken(given, exact(Rectified()))
    wrong = found(from_velocity(function, (2,), stated, std=1.0, dtype=torch.float64))
    assert wrong.ok is False and wrong.mistake == "convention"
    assert wrong.message.startswith(f"this looks like {words}")
    assert wrong.advice == f'pass convention="{given}"'
    right = from_velocity(function, (2,), given, std=1.0, dtype=torch.float64)
    assert diagnose(right, points()).ok and found(right).ok


def test_a_networks_own_error_does_not_hide_the_convention():
    spoken_well = spoken("flow_matching", exact(Rectified()))
    field = from_velocity(
        lambda x, s: spoken_well(x, s) * (1 + 0.2 * torch.sin(5 * x)), (2,), "diffode", std=1.0
    )
    assert found(field).message.startswith("this looks like a flow_matching velocity")


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (lambda f, x, s: f.velocity(x, 1 - s), "sign"),
        (lambda f, x, s: -f.velocity(x, s.clamp(1e-3, 1)), "reversed time"),
    ],
)
def test_a_half_of_a_convention_is_named_too(rule, name):
    inner = exact(Rectified())
    field = from_velocity(
        lambda x, s: rule(inner, x, s), (2,), "flow_matching", std=1.0, dtype=torch.float64
    )
    assert found(field).mistake == name


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (lambda f, x, s: f.noise_part(x, s), "eps is given"),
        (lambda f, x, s: f.score(x, s), "the score is given"),
        (lambda f, x, s: f.denoise(x * (1 + s[:, None] ** 2).sqrt(), s), "its input is x / sqrt("),
        (lambda f, x, s: f.denoise(x, (4 * s).exp()), "it is told log(sigma) / 4"),
    ],
)
def test_check_names_what_is_given_in_a_denoisers_place(rule, words):
    inner = exact(Karras())
    field = from_denoiser(
        lambda x, s: rule(inner, x, s), (2,), "edm", std=1.0, dtype=torch.float64
    )
    wrong = found(field)
    assert wrong.mistake == "convention" and words in wrong.message


@pytest.mark.parametrize("power", [0.5, -0.5])
def test_check_names_a_radius_in_place_of_sigma(power):
    inner = exact(Karras(), StudentT(4.0))
    field = from_denoiser(
        lambda x, s: inner.denoise(x, s / 4**power), (2,), "edm", dof=4.0, std=1.0,
        dtype=torch.float64,
    )  # fmt: skip
    for form in (field, PoissonField(field)):
        wrong = found(form)
        assert wrong.mistake == "convention" and "in place of sigma" in wrong.message


def test_a_right_denoiser_is_sound():
    inner = exact(Karras(), StudentT(4.0))
    field = from_denoiser(inner.denoise, (2,), "edm", dof=4.0, std=1.0, dtype=torch.float64)
    report = diagnose(field, points())
    assert report.ok and found(field).ok, str(report)


# ------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: from_velocity(abs, (2,), "fm"), ValueError, "got convention 'fm'; from_velocity"),
        (lambda: from_velocity(3, (2,), "diffusers"), TypeError, "got 3; wanted a function"),
        (lambda: from_velocity(abs, (2,), "diffode", std=0.0), ValueError, "got std 0.0"),
        (lambda: from_denoiser(abs, (2,), "azula"), ValueError, "which has no schedule"),
        (lambda: as_k_diffusion(mixture(Karras(), StudentT(4.0))), TypeError, "sample it here"),
        (lambda: as_k_diffusion(3), TypeError, "wanted an AffineField"),
    ],
)
def test_what_cannot_be_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_noise_level_that_the_field_does_not_know_is_refused():
    with pytest.raises(ValueError, match=r"this field knows 0\.002 to 80"):
        as_k_diffusion(DENOISER)(MODES, torch.tensor(100.0))
