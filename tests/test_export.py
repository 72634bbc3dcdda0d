"""Runs as pipelines of diffusers: what they draw there is what they draw here."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from diffode.fields import DiscreteBetas, rescheduled
from diffode.interop import from_diffusers, to_diffusers
from diffode.solvers import get_solver
from tests.exports import PLAIN, SMALL, apart, noise, stirred


def ours(field, scheduler):
    """Samples by our solvers, on the scheduler's path and at its timesteps."""
    t = scheduler.timesteps.double()
    if "trained_betas" in scheduler.config:
        moved, solver = rescheduled(field, DiscreteBetas(scheduler.config.trained_betas)), "ddim"
    else:
        moved, t, solver = field, t / 1000, "euler"
    with torch.no_grad():
        return moved.denoise(get_solver(solver)(moved, noise(), t).x, t[-1])


def theirs(network, scheduler):
    """Samples by the scheduler's own steps."""
    z = noise()
    with torch.no_grad():
        for t in scheduler.timesteps:
            z = scheduler.step(network(z, t).sample, t, z).prev_sample
    return z


BLOCKED = """
import sys, torch
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "diffode":
            raise ImportError("diffode is blocked")
sys.meta_path.insert(0, Blocked())
from diffusers import DiffusionPipeline
from safetensors.torch import save_file
found = {}
for name in sys.argv[2:]:
    pipe = DiffusionPipeline.from_pretrained(name)
    told = dict(batch_size=4, num_inference_steps=10, output_type="pt")
    images = pipe(generator=torch.Generator().manual_seed(0), **told).images
    z = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    pipe.scheduler.set_timesteps(10)
    with torch.no_grad():
        for t in pipe.scheduler.timesteps:
            z = pipe.scheduler.step(pipe.unet(z, t).sample, t, z).prev_sample
    found |= {name + " x": z, name + " images": images}
save_file(found, sys.argv[1])
"""


def test_diffusers_alone_draws_the_same_samples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fields = {}
    for recipe in ("ddpm", "rectified"):
        path, fields[recipe] = stirred(tmp_path, recipe, **PLAIN)
        assert to_diffusers(path, recipe, plain=True).why == ""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    script = [sys.executable, "-c", BLOCKED, "drawn.safetensors", *fields]
    done = subprocess.run(script, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    drawn = load_file("drawn.safetensors")
    for recipe, field in fields.items():
        scheduler = scheduler_of(recipe)
        scheduler.set_timesteps(10)
        x = ours(field, scheduler)
        assert apart(drawn[f"{recipe} x"], x) < 1e-5
        images = (x / 2 + 0.5).clamp(0, 1)
        torch.testing.assert_close(drawn[f"{recipe} images"], images, rtol=0, atol=1e-3)


@pytest.mark.parametrize("recipe", ["ddpm", "rectified"])
def test_what_diffusers_alone_draws_comes_back_as_a_field(tmp_path, recipe):
    path, field = stirred(tmp_path, recipe, **PLAIN)
    to_diffusers(path, tmp_path / "pipe")
    again = from_diffusers(tmp_path / "pipe")
    x, rho = noise(), torch.tensor([20.0, 1.0, 0.1, 0.02], dtype=torch.float64)
    with torch.no_grad():
        told = [f.posterior(at(f, x, rho), f.schedule.time(rho)) for f in (field, again)]
    for ours_, theirs_ in zip(*told, strict=True):
        assert apart(theirs_, ours_) < 1e-5


def at(field, x, rho):
    """The states of a field at these levels for the same points x / alpha."""
    return x * field.schedule.alpha(field.schedule.time(rho)).float().view(-1, 1, 1, 1)


def scheduler_of(folder):
    from diffusers import DiffusionPipeline

    return DiffusionPipeline.from_pretrained(folder).scheduler


@pytest.mark.parametrize("recipe", ["edm", "vp", "ddpm", "rectified", "ve"])
def test_any_field_of_normal_noise_draws_the_same_samples(tmp_path, recipe):
    from diffusers import DiffusionPipeline

    path, field = stirred(tmp_path, recipe, classes=3 if recipe == "edm" else None, **SMALL)
    out = tmp_path / "pipe"
    assert "its network is a MLP" in to_diffusers(path, out).why
    pipe = DiffusionPipeline.from_pretrained(out)
    pipe.scheduler.set_timesteps(10)
    assert apart(theirs(pipe.unet, pipe.scheduler), ours(field, pipe.scheduler)) < 1e-5
    if betas := pipe.scheduler.config.get("trained_betas"):
        ends = DiscreteBetas(betas).rho(torch.tensor([len(betas) - 1.0, 0.0]).double())
        least, most = field.levels
        assert ends.tolist() == pytest.approx([most, max(least, 0.01)], rel=1e-6)
    if recipe == "edm":
        x, t, y = noise(), torch.tensor(500), torch.tensor([0, 1, 2, 0])
        told, free = (pipe.unet(x, t, class_labels=v).sample for v in (y, None))
        null = pipe.unet(x, t, class_labels=torch.full((4,), 3)).sample
        assert torch.equal(free, null) and apart(told, free) > 1e-3
        assert torch.equal(pipe.unet(x, t, return_dict=False)[0], free)
        rows = pipe.unet(x, torch.tensor([500, 400, 500, 500])).sample
        assert apart(rows[2:], free[2:]) < 1e-6 and apart(rows[:2], free[:2]) > 1e-3
    names = {p.name for p in out.rglob("*") if p.is_file()}
    assert names == {
        "model_index.json",
        "scheduler_config.json",
        "config.json",
        "diffusion_pytorch_model.safetensors",
        "README.md",
        "samples.png",
    }


def test_a_labelled_network_of_diffusers_takes_labels_and_goes_without(tmp_path):
    from diffusers import DiffusionPipeline

    path, field = stirred(tmp_path, "rectified", classes=3, **PLAIN)
    assert "it was trained with labels" in to_diffusers(path, tmp_path / "pipe").why
    pipe = DiffusionPipeline.from_pretrained(tmp_path / "pipe")
    x, y = noise(), torch.tensor([0, 1, 2, 0])
    for label in (y, None):
        told = pipe.unet(x, torch.tensor(700), class_labels=label).sample
        assert apart(told, field.velocity(x, 0.7, label)) < 1e-5
    assert apart(field.velocity(x, 0.7, y), field.velocity(x, 0.7)) > 1e-3


def test_an_exported_field_is_kept_again_and_takes_half_precision(tmp_path):
    from diffusers import DiffusionPipeline

    path, _ = stirred(tmp_path, "edm", **SMALL)
    to_diffusers(path, tmp_path / "pipe")
    first = DiffusionPipeline.from_pretrained(tmp_path / "pipe")
    first.save_pretrained(tmp_path / "again")
    second = DiffusionPipeline.from_pretrained(tmp_path / "again")
    x, t = noise(), torch.tensor(300)
    with torch.no_grad():
        whole = first.unet(x, t).sample
        assert torch.equal(second.unet(x, t).sample, whole)
        half = second.to(torch.float16).unet(x.half(), t).sample
    assert half.dtype == torch.float16 and apart(half.float(), whole) < 1e-2


def test_the_names_that_pipelines_look_for_cost_nothing_until_they_are_asked_for():
    code = "import sys, diffode.interop; print({'torch', 'diffusers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
