"""The default solver as a scheduler of diffusers: the very same steps, times and answers."""

import diffusers
import pytest
import torch

from diffode.fields import Mixture, classifier_free
from diffode.interop import DiffodeScheduler
from diffode.rng import Rng
from diffode.solvers import get_solver
from diffode.solvers.grids import zero_noise_times
from diffode.solvers.multistep import nodes_of, steps_of

D = torch.float64
SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
ZERO = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
ORIGINS = {
    "epsilon": diffusers.PNDMScheduler(**SD),
    "v": diffusers.DDIMScheduler(**SD, prediction_type="v_prediction", clip_sample=False),
    "sample": diffusers.DPMSolverMultistepScheduler(**SD, prediction_type="sample"),
    "zero snr": diffusers.EulerDiscreteScheduler(**SD, **ZERO, timestep_spacing="trailing"),
    "cosine": diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
    "linear": diffusers.UniPCMultistepScheduler(),
    "flow": diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    "flow sigmas": diffusers.UniPCMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0
    ),
    "edm": diffusers.EDMEulerScheduler(),
    "edm v": diffusers.EDMDPMSolverMultistepScheduler(prediction_type="v_prediction"),
}


def law(schedule):
    """Two clouds about 0, of which each is a class."""
    means = torch.tensor([[1.0, -0.6], [-1.0, 0.6]], dtype=D)
    weights, stds = torch.tensor([0.5, 0.5]), torch.tensor([0.3, 0.3])
    return Mixture(weights, means, stds, schedule, None, torch.arange(2))


class Unet(torch.nn.Module):
    """The exact network of a field, called as pipelines call a UNet: points of shape (B, 2, 1, 1).

    What it is given and told is undone by the coefficients of the prediction.
    """

    def __init__(self, field, path):
        super().__init__()
        self.field, self.path = field, path
        self.calls = 0

    def forward(self, sample, told, native, y=None):
        self.calls += 1
        t = native.double()
        alpha, sigma = self.field.schedule.alpha(t), self.field.schedule.sigma(t)
        c = self.path.prediction.coefficients(t.reshape(1), alpha, sigma, t)
        assert float(c.cond) == pytest.approx(float(told), rel=1e-6, abs=1e-6)
        x = sample.double() / c.in_
        x0, n = self.field.posterior(x.flatten(1), t, y)
        x0, n = x0.reshape(x.shape), n.reshape(x.shape)
        by_data = bool(c.out.abs() > c.noise_out.abs() / 50)
        out = (x0 - c.skip * x) / c.out if by_data else (n - c.noise_skip * x) / c.noise_out
        return out.to(sample.dtype)


def started(scheduler, rows=4, dtype=D):
    return Rng(3).normal("x", (rows, 2, 1, 1), D).to(dtype) * scheduler.init_noise_sigma


def sampled(scheduler, network, x, y=None, first=0):
    """The loop of a pipeline."""
    for k, told in enumerate(scheduler.timesteps[first:], first):
        given = scheduler.scale_model_input(x, told)
        out = network(given, told, scheduler._layout.times[k], y)
        x = scheduler.step(out, told, x).prev_sample
    return x


def made(origin, **options):
    scheduler = DiffodeScheduler.from_config(ORIGINS[origin].config, **options)
    return scheduler, law(scheduler.path.schedule)


def own_times(scheduler):
    times = scheduler._layout.times
    return torch.cat((times, times.new_tensor([scheduler.path.schedule.span[1]])))


@pytest.mark.parametrize("origin", [o for o in ORIGINS if o != "cosine"])
def test_times_and_tables_are_those_of_our_solver_bit_for_bit(origin):
    scheduler, field = made(origin, guidance_scale=1.0)
    told = {"data_std": field.moments[1], "principal_std": field.principal_std}
    scheduler, field = made(origin, guidance_scale=1.0, **told)
    scheduler.set_timesteps(9)
    times = zero_noise_times(field, 9, "mixed").float().double()[:-1]
    assert torch.equal(scheduler._layout.times, times)
    rule = get_solver("trig").rule(9, field)
    like = torch.zeros(1, dtype=D)
    ours = steps_of(rule, nodes_of(rule, field, own_times(scheduler), True), like)
    theirs = scheduler._layout.steps.walk(times, like).steps
    for one, other in zip(ours, theirs, strict=True):
        pairs = [(one.x0, other.x0), (one.n, other.n), *zip(one.level, other.level, strict=True)]
        for update, same in ((one.go, other.go), (one.correct, other.correct)):
            assert (update is None) == (same is None)
            if update is not None:
                name = "keep" if update is one.go else "fraction"
                pairs.append((getattr(update, name), getattr(same, name)))
                pairs += zip(update.weights, same.weights, strict=True)
        assert all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("weight", [None, 1.0, 3.0, 7.5])
@pytest.mark.parametrize("origin", ORIGINS)
def test_a_pipeline_gives_what_our_solver_gives(origin, weight):
    scheduler, field = made(origin, guidance_scale=weight)
    field = field if weight is None else classifier_free(field, weight)
    scheduler.set_timesteps(8)
    x, y, network = started(scheduler), torch.tensor([0, 1, 0, 1]), Unet(field, scheduler.path)
    end = sampled(scheduler, network, x, y)
    assert network.calls == 8
    bare = scheduler._layout.steps
    known = _same(field, bare.field)
    ours = bare.solver(known, x.flatten(1), own_times(scheduler), y, to_zero_noise=True).x
    assert torch.allclose(end.flatten(1), ours, rtol=1e-7, atol=1e-7)


def _same(field, known):
    out = type(
        "Answers", (type(known),), {"posterior": lambda _, x, t, y: field.posterior(x, t, y)}
    )
    made = out(known.schedule, known.noise, torch.zeros(2, dtype=D), known.moments[1])
    made.guidance, made.principal_std = known.guidance, known.principal_std
    return made


def test_it_ends_at_the_data():
    scheduler, field = made("epsilon")
    scheduler.set_timesteps(25)
    network = Unet(field, scheduler.path)
    end = sampled(scheduler, network, started(scheduler))
    scheduler.set_timesteps(100)
    assert torch.allclose(sampled(scheduler, network, started(scheduler)), end, atol=1e-3)


@pytest.mark.parametrize("origin", ["epsilon", "flow", "edm"])
def test_image_to_image_begins_in_the_middle(origin):
    scheduler, field = made(origin)
    scheduler.set_timesteps(10)
    begin, image = 4, field.sample(4, Rng(5)).reshape(4, 2, 1, 1).double()
    noise = Rng(6).normal("noise", image.shape, D)
    told = scheduler.timesteps[begin : begin + 1].repeat(4)
    x = scheduler.add_noise(image, noise, told)
    alpha, sigma = field.level(scheduler._layout.times[begin], x)
    assert torch.allclose(x, alpha * image + sigma * noise)
    assert torch.equal(scheduler.scale_noise(image, told, noise), x)
    scheduler.set_begin_index(begin)
    end = sampled(scheduler, Unet(field, scheduler.path), x, first=begin)
    bare = scheduler._layout.steps
    field, times = _same(field, bare.field), own_times(scheduler)[begin:]
    ours = bare.solver(field, x.flatten(1), times, to_zero_noise=True).x
    assert torch.allclose(end.flatten(1), ours, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_costs_a_few_roundings_and_no_more(dtype):
    scheduler, field = made("v")
    scheduler.set_timesteps(20)
    network, x = Unet(field, scheduler.path), started(scheduler, 64, dtype)
    end = sampled(scheduler, network, x.double())
    half = sampled(scheduler, network, x)
    assert half.dtype == dtype
    assert (half.double() - end).square().mean().sqrt() < 8 * torch.finfo(dtype).eps


def test_rows_do_not_depend_on_their_batch_and_runs_repeat():
    scheduler, field = made("epsilon")
    network, x = Unet(field, scheduler.path), started(scheduler, 6)
    scheduler.set_timesteps(7)
    once = sampled(scheduler, network, x)
    assert torch.equal(sampled(scheduler, network, x), once)
    assert torch.allclose(sampled(scheduler, network, x[2:4]), once[2:4], atol=1e-12)


def test_points_that_were_changed_between_steps_are_taken_as_they_are():
    scheduler, field = made("epsilon")
    scheduler.set_timesteps(2)
    first, second = scheduler.timesteps
    network, x = Unet(field, scheduler.path), started(scheduler)
    x = scheduler.step(network(x, first, scheduler._layout.times[0]), first, x).prev_sample
    held = torch.full_like(x, 0.25)
    out = network(held, second, scheduler._layout.times[1])
    step = scheduler.step(out, second, held)
    alpha, sigma = field.level(scheduler._layout.times[1], x)
    assert torch.allclose(step.pred_original_sample, (held - sigma * out) / alpha)
    assert torch.allclose(step.prev_sample, step.pred_original_sample, atol=0.2)


def test_given_sigmas_and_timesteps_are_used():
    scheduler, _ = made("flow")
    scheduler.set_timesteps(sigmas=[1.0, 0.5, 0.25])
    assert scheduler.timesteps.tolist() == pytest.approx([1000.0, 750.0, 500.0])  # shift 3
    scheduler, _ = made("epsilon")
    scheduler.set_timesteps(timesteps=[999, 500, 20])
    assert scheduler.timesteps.tolist() == pytest.approx([999, 500, 20])
    rho = scheduler.path.schedule.rho(torch.tensor([999.0, 500.0, 20.0], dtype=D))
    scheduler.set_timesteps(sigmas=[*rho.tolist(), 0.0])
    assert scheduler.timesteps.tolist() == pytest.approx([999, 500, 20])
    assert scheduler.sigmas.tolist() == pytest.approx([*rho.tolist(), 0.0])


def test_a_saved_scheduler_comes_back(tmp_path):
    scheduler, _ = made("flow", guidance_scale=4.0, data_std=0.7)
    scheduler.save_pretrained(tmp_path)
    again = DiffodeScheduler.from_pretrained(tmp_path)
    for one in (scheduler, again):
        one.set_timesteps(6)
    assert torch.equal(scheduler.timesteps, again.timesteps)
    assert again.config.source == "FlowMatchEulerDiscreteScheduler"
    other = DiffodeScheduler.from_config(ORIGINS["edm"])  # a scheduler in the place of its config
    assert other.config.source == "EDMEulerScheduler"


def test_a_shift_moves_the_steps_towards_the_noise():
    plain = DiffodeScheduler.from_config(diffusers.FlowMatchEulerDiscreteScheduler().config)
    moved, _ = made("flow")
    for scheduler in (plain, moved):
        scheduler.set_timesteps(8)
    assert bool((moved.sigmas[1:-1] > plain.sigmas[1:-1]).all())
    plain.set_timesteps(8, mu=torch.tensor(3.0).log())
    assert torch.allclose(plain.sigmas, moved.sigmas, atol=1e-6)


def test_what_cannot_be_is_refused_in_one_line():
    with pytest.raises(ValueError, match="distilled"):
        DiffodeScheduler.from_config(diffusers.LCMScheduler().config)
    with pytest.raises(ValueError, match="no path that is known"):
        DiffodeScheduler.from_config(diffusers.KarrasVeScheduler().config)
    with pytest.raises(ValueError, match="predictor and a corrector"):
        DiffodeScheduler.from_config(diffusers.ScoreSdeVeScheduler())
    with pytest.raises(ValueError, match="wanted a scheduler or its config"):
        DiffodeScheduler.from_config("a/folder")
    with pytest.raises(ValueError, match="guidance_scale"):
        made("epsilon", guidance_scale=-1.0)
    scheduler, _ = made("epsilon")
    x = started(scheduler)
    with pytest.raises(ValueError, match="set_timesteps first"):
        scheduler.step(x, 999.0, x)
    with pytest.raises(ValueError, match="wanted one"):
        scheduler.set_timesteps()
    with pytest.raises(ValueError, match="do not fall"):
        scheduler.set_timesteps(timesteps=[10, 20])
    with pytest.raises(ValueError, match="outside"):
        scheduler.set_timesteps(sigmas=[100.0, 1.0])
    scheduler.set_timesteps(3)
    with pytest.raises(ValueError, match=r"wanted one of scheduler\.timesteps"):
        scheduler.step(x, 1.5, x)
    with pytest.raises(ValueError, match="output of shape"):
        scheduler.step(x[:, :1], scheduler.timesteps[0], x)
