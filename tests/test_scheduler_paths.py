"""Scheduler configurations of diffusers as paths, by tables that follow from their definitions."""

import math
import subprocess
import sys

import pytest
import torch

from diffode import sample
from diffode.fields import DiscreteBetas, Learned, Mixture
from diffode.interop import scheduler_path
from diffode.interop.betas import BETAS, ZeroTerminalBetas
from diffode.priors import Normal

CAT = {  # of 2022, without most of today's keys
    "_class_name": "DDPMScheduler",
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "clip_sample": True,
    "num_train_timesteps": 1000,
    "trained_betas": None,
    "variance_type": "fixed_small",
}
OUTPUTS = {  # of a network that knows data and noise at once, by the names of configurations
    "epsilon": lambda x0, n, a, s: n,
    "sample": lambda x0, n, a, s: x0,
    "v_prediction": lambda x0, n, a, s: a * n - s * x0,
    "flow_prediction": lambda x0, n, a, s: n - x0,
}


def config(name, **values):
    return {"_class_name": f"{name}Scheduler", "someone_elses_key": [1], **values}


def means(path, output, t):
    """What a path's prediction makes of an output, for data and noise that are known."""
    x0, n = torch.tensor([[0.3], [-1.2]]).double(), torch.tensor([[0.7], [0.4]]).double()
    t = torch.tensor(t, dtype=torch.float64)
    alpha, sigma = path.schedule.alpha(t), path.schedule.sigma(t)
    x = alpha * x0 + sigma * n
    c = path.prediction.coefficients(x, alpha, sigma, t)
    found = path.prediction.decode(x, output(x0, n, alpha, sigma), None, c, sigma)
    return found, (x0, n), c, sigma


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("betas", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"])
def test_an_output_of_each_kind_gives_back_data_and_noise(kind, betas):
    path = scheduler_path(config("DDPM", prediction_type=kind, beta_schedule=betas))
    found, true, c, _ = means(path, OUTPUTS[kind], 423.0)
    torch.testing.assert_close(found, true)
    assert c.cond.tolist() == [[423.0], [423.0]] and float(c.in_) == 1


def test_flow_and_score_outputs_give_back_data_and_noise():
    found, true, c, _ = means(
        scheduler_path(config("FlowMatchEulerDiscrete", shift=3.0)),
        OUTPUTS["flow_prediction"],
        0.4,
    )
    torch.testing.assert_close(found, true)
    assert c.cond.tolist() == [[400.0], [400.0]]
    path = scheduler_path(config("ScoreSdeVe", sigma_max=50.0))
    assert path.pixels == (0, 1)
    found, true, c, sigma = means(path, lambda x0, n, a, s: -n / (s / 2), 0.6)
    torch.testing.assert_close(found, true)  # their sigma is half of that in pixels from -1 to 1
    torch.testing.assert_close(c.cond[:, 0], (sigma / 2).expand(2))


@pytest.mark.parametrize(("kind", "sign"), [("epsilon", 1.0), ("v_prediction", -1.0)])
def test_edm_outputs_are_of_unit_variance_and_of_the_sign_of_their_name(kind, sign):
    path = scheduler_path(config("EDMEuler", prediction_type=kind, sigma_data=0.7))

    def output(x0, n, a, s):
        total = math.hypot(s, 0.7)
        return sign * (x0 - 0.49 / total**2 * (x0 + s * n)) / (s * 0.7 / total)

    found, true, c, sigma = means(path, output, 1.3)
    torch.testing.assert_close(found, true)
    torch.testing.assert_close(c.cond[:, 0], sigma.log().div(4).expand(2))
    assert path.std == 0.7 and path.schedule.span == (80.0, 0.002)


@pytest.mark.parametrize("name", ["DPMSolverMultistep", "UniPCMultistep", "DEISMultistep"])
def test_solvers_of_a_chain_can_walk_the_straight_path(name):
    asked = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 2.0}
    path = scheduler_path(config(name, **asked))
    assert path.schedule.span == (1.0, 1e-3)
    for one in asked:
        if one != "flow_shift":
            with pytest.raises(ValueError, match="together or neither"):
                scheduler_path(config(name, **{one: asked[one]}))


def test_an_old_configuration_has_the_defaults_of_its_class():
    path = scheduler_path(CAT)
    t = torch.tensor([0.0, 500.0, 999.0], dtype=torch.float64)
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alpha2 = torch.cumprod(1 - betas, 0)[t.long()]
    torch.testing.assert_close(path.schedule.alpha(t).square(), alpha2)
    assert path.unlike == ("clip_sample",)
    heun, ddim = (scheduler_path(config(n)).schedule for n in ("HeunDiscrete", "DDIM"))
    assert heun.ends()[0][0] > 5 * ddim.ends()[0][0]  # whose betas end at .012


def test_trained_betas_are_taken_as_they_are():
    betas = [0.1, 0.2, 0.7]
    told = {"trained_betas": betas, "num_train_timesteps": 3, "beta_schedule": "odd"}
    schedule = scheduler_path(config("PNDM", **told)).schedule
    assert schedule.span == (2.0, 0.0)
    assert schedule.ends()[0][0] ** 2 == pytest.approx(0.9 * 0.8 * 0.3)


@pytest.mark.parametrize("name", list(BETAS))
def test_every_chain_loses_data_step_by_step(name):
    betas = BETAS[name](1e-4, 0.02, 1000)
    assert len(betas) == 1000 and bool(((betas > 0) & (betas <= 0.999)).all())
    alpha = DiscreteBetas(betas).alpha(torch.arange(1000.0).double())
    assert bool((alpha.diff() < 0).all())


def test_zero_terminal_snr_ends_at_zero_and_keeps_its_beginning():
    betas = BETAS["scaled_linear"](0.00085, 0.012, 1000)
    plain, zero = DiscreteBetas(betas), ZeroTerminalBetas(betas)
    t = torch.arange(1000.0, dtype=torch.float64)
    a, alpha, sigma = plain.alpha(t), zero.alpha(t), zero.sigma(t)
    assert zero.span == plain.span and (float(alpha[-1]), float(sigma[-1])) == (0.0, 1.0)
    torch.testing.assert_close(alpha, (a - a[-1]) * (a[0] / (a[0] - a[-1])), rtol=1e-9, atol=0)
    torch.testing.assert_close(alpha.square() + sigma.square(), torch.ones_like(t))


def test_zero_terminal_rates_and_inverse_hold_in_the_last_step_too():
    zero = ZeroTerminalBetas(BETAS["linear"](1e-4, 0.02, 50))
    t = torch.tensor([0.3, 20.6, 47.5, 48.4, 48.97], dtype=torch.float64)
    for rate, f in zip(zero.rates(t)[2:], (zero.alpha, zero.sigma), strict=True):
        slope = torch.func.jvp(f, (t,), (torch.ones_like(t),))[1]
        torch.testing.assert_close(rate, slope)
    torch.testing.assert_close(zero.time(zero.rho(t)), t)
    assert float(zero.time(torch.tensor(math.inf).double())) == 49.0


@pytest.mark.parametrize("kind", ["sample", "v_prediction"])
def test_a_field_of_zero_terminal_snr_draws_the_law_of_its_data(kind):
    path = scheduler_path(config("DDIM", prediction_type=kind, rescale_betas_zero_snr=True))
    exact = Mixture(
        torch.tensor([0.25, 0.75]),
        torch.tensor([[-1.0], [1.0]]),
        torch.tensor([0.1, 0.1]),
        path.schedule,
    )

    class Exact(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.anchor = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

        def forward(self, x, cond, y=None):
            alpha, sigma = exact.level(cond[:, 0], x)
            return OUTPUTS[kind](*exact.posterior(x, cond[:, 0]), alpha[:, None], sigma[:, None])

    field = Learned(Exact(), path.schedule, path.prediction, Normal(), torch.zeros(1), 1.0)
    ours, true = (sample(f, 400, "ddim", 200, seed=3).x for f in (field, exact))
    torch.testing.assert_close(ours, true, atol=2e-5, rtol=0)
    assert abs(float((ours > 0).double().mean()) - 0.75) < 0.06


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("DDIN", {}, "got the scheduler 'DDINScheduler'; did you mean 'DDI"),
        ("DDIM", {"prediction_type": "eps"}, "got prediction_type 'eps'; did you mean 'epsilon'"),
        ("DDIM", {"beta_schedule": "cubic"}, "got beta_schedule 'cubic'; .*linear"),
        ("EDMEuler", {"prediction_type": "sample"}, "known: epsilon, v_prediction"),
        ("KarrasVe", {}, "KarrasVeScheduler states no path"),
        ("CMStochasticIterative", {}, "consistency model"),
        ("LCM", {}, "consistency model"),
        ("IPNDM", {}, "betas are sines"),
        ("FlowMatchEulerDiscrete", {"invert_sigmas": True}, "invert_sigmas"),
        ("EulerDiscrete", {"timestep_type": "continuous"}, "got timestep_type 'continuous'"),
        ("DDIM", {"rescale_betas_zero_snr": True}, "wanted v_prediction or sample"),
        ("DDIM", {"num_train_timesteps": "many"}, "DDIMScheduler: got num_train_timesteps='many'"),
        ("DDIM", {"beta_end": 2.0}, "got beta_end=2.0"),
        ("DDIM", {"num_train_timesteps": 10**12}, "num_train_timesteps"),
        ("DDIM", {"trained_betas": [0.1, 1.5]}, "trained_betas.1=1.5"),
    ],
)
def test_what_is_not_known_is_refused_in_one_line(name, values, said):
    with pytest.raises(ValueError, match=said) as error:
        scheduler_path(config(name, **values))
    assert "\n" not in str(error.value)


def test_a_configuration_without_a_class_is_refused():
    with pytest.raises(ValueError, match="got the scheduler None"):
        scheduler_path({})


def test_paths_need_no_diffusers():
    code = (
        "import sys; sys.modules['diffusers'] = None\n"
        "from diffode.interop import scheduler_path\n"
        "print(scheduler_path({'_class_name': 'DDIMScheduler'}).schedule)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("DiscreteBetas(T=1000)\n", "")
