"""Runs as pipelines of diffusers: what they draw there is what they draw here."""

import json
import os
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file

import diffode
from diffode.cli.app import run
from diffode.data import Dataset, load
from diffode.data.scaling import Scaling
from diffode.data.stats import data_stats
from diffode.export import pipeline
from diffode.fields import DiscreteBetas, Mixture, rescheduled
from diffode.files import _machine, replacing_folder
from diffode.interop import from_diffusers, to_diffusers
from diffode.solvers import get_solver
from tests.runs import refused

PLAIN = {"network": "unet2d", "width": 8, "centre": False}
SMALL = {"network": "mlp", "width": 16, "depth": 1}


def stirred(folder, recipe, classes=None, shape=(1, 8, 8), scaling=None, **options):
    """A checkpoint of a field whose weights are no longer zero anywhere, and the field."""
    stats = data_stats(load("digits").train) if shape == (1, 8, 8) else None
    made = diffode.build(recipe, shape, classes, stats, scaling=scaling, **options)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    path = diffode.save(made.eval(), folder / f"{recipe}.safetensors")
    return path, made.field


def noise():
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


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


def apart(a, b):
    a, b = a.detach(), b.detach()
    return float((a - b).abs().max() / b.abs().max())


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


def test_the_names_that_pipelines_look_for_cost_nothing_until_they_are_asked_for():
    code = "import sys, diffode.interop; print({'torch', 'diffusers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def checkpoints(folder):
    """Checkpoints that cannot be exported, what is said of them, and further arguments."""
    small, unit = SMALL, Scaling("standard", torch.tensor(3.0), torch.tensor(2.0))
    strict = {**small, "label_drop": 0.0}
    return {
        "the noise is StudentT(dof=128); schedulers of diffusers": ("pfgmpp", {}, []),
        "schedulers of diffusers start from normal noise": ("poisson", {}, []),
        "a MonoFlow states a velocity alone, with no level": ("monoflow", {}, []),
        "got events of shape (2,); pipelines of diffusers draw images": (
            "edm",
            {"shape": (2,)},
            [],
        ),
        "the units are standard: 1 ... 5 as -1 ... 1; pictures": ("vp", {"scaling": unit}, []),
        "trained with label_drop=0 and has no null label": ("ve", {"classes": 3, **strict}, []),
        "it is centred, and diffusers knows no mean: train with --set centre=false": (
            "ddpm",
            {**PLAIN, "centre": True},
            ["--plain"],
        ),
        "cannot be sampled without diffode: its network answers with neither": (
            "subvp",
            PLAIN,
            ["--plain"],
        ),
        "got --format onnx; wanted diffusers": ("rectified", {}, ["--format", "onnx"]),
    }


def test_what_cannot_be_exported_is_refused_in_a_line(tmp_path, capsys):
    for k, (words, (recipe, options, given)) in enumerate(checkpoints(tmp_path).items()):
        (tmp_path / str(k)).mkdir()
        path, _ = stirred(tmp_path / str(k), recipe, **{**SMALL, **options})
        assert words in refused(capsys, "export", path, tmp_path / "out", *given)
    (tmp_path / "taken").mkdir()
    assert "taken is there already" in refused(capsys, "export", path, tmp_path / "taken")
    (tmp_path / "mine.py").write_text("from tests.test_export import mixture as it\n")
    code = f"{tmp_path / 'mine.py'}:it"
    assert "is code; export wants a run" in refused(capsys, "export", code, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


def mixture():
    means = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    return Mixture(torch.ones(2), means, torch.ones(2), diffode.fields.VP())


def test_a_run_leaves_a_card_with_its_figures(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = Dataset("blobs | of | mine", load("digits").train[:40], load("digits").test[:20])
    diffode.fit("edm", data, out="run", steps=1, batch=8, device="cpu", **SMALL)
    figures = {"metrics": {"W2": {"value": 3.25, "stderr": 0.5}}, "floor": {"W2": {"value": 1.5}}}
    (tmp_path / "run/quality.json").write_text(json.dumps(figures))
    assert run(["export", "run", "pipe", "--format", "diffusers"]) == 0
    assert "import diffode.interop before it is loaded" in capsys.readouterr().out
    card = (tmp_path / "pipe/README.md").read_text(encoding="utf-8")
    _, head, body = card.split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["license"] is None and metadata["library_name"] == "diffusers"
    assert "import diffode.interop" in body and 'from_pretrained("pipe")' in body
    assert "| W2 | 3.25 +- 0.5 | 1.5 |" in body and "40 images" in body
    assert "| of |" not in body, "a name from outside is no markup"


def test_an_export_that_is_stopped_leaves_nothing(tmp_path, monkeypatch):
    path, _ = stirred(tmp_path, "rectified", **SMALL)

    def stopped(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "write_card", stopped)
    with pytest.raises(KeyboardInterrupt):
        to_diffusers(path, tmp_path / "pipe")
    assert [p.name for p in tmp_path.iterdir()] == ["rectified.safetensors"]


def test_what_a_killed_export_left_is_swept_by_the_next(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f".pipe.{_machine()}-{dead.pid}.tmp"
    (left / "unet").mkdir(parents=True)
    (left / "unet/half").write_text("written")
    with replacing_folder(tmp_path / "other") as made:
        (made / "whole").write_text("all of it")
    assert [p.name for p in tmp_path.iterdir()] == ["other"]


def test_a_folder_that_says_something_else_than_the_field_is_not_written(tmp_path, monkeypatch):
    path, _ = stirred(tmp_path, "vp", **SMALL)
    told = pipeline.answer
    monkeypatch.setattr(pipeline, "answer", lambda *given: 1.001 * told(*given))
    with pytest.raises(ValueError, match=r"differs from the field by 0\.001 of its largest value"):
        to_diffusers(path, tmp_path / "pipe")
    assert not (tmp_path / "pipe").exists()
