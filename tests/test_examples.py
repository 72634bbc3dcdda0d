"""The examples run with few steps, draw something, and what they print is true."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

FOLDER = Path(__file__).parent.parent / "examples"
NAMES = (
    "collapse",
    "data_to_data",
    "ddim_is_euler",
    "field_lines",
    "gan_as_flow",
    "guided_digits",
    "masked_letters",
    "monoflow_clock",
    "morph_digits",
    "one_evaluation",
    "optimisers_as_solvers",
    "other_models",
    "own_data",
    "own_images",
    "pictures_of_a_field",
    "published_pipeline",
    "restore_digits",
    "scheduler_in_a_pipeline",
    "straight_lines",
)


def example(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_it_draws_one_picture(name, tmp_path, capsys):
    path = example(name).main(out=tmp_path, steps=3)
    assert os.listdir(tmp_path) == [path.name]
    with Image.open(path) as image:
        page = np.asarray(image)[..., :3].astype(int)
    assert page.shape[0] > 400 and page.shape[1] > 1000
    assert page.std() > 5 and len(np.unique(page @ (65536, 256, 1))) > 50
    assert str(path) in capsys.readouterr().out


def test_field_lines_come_home_in_proportion_to_the_charges():
    module = example("field_lines")
    x, z = module.field_lines(200)
    home = (x[-1, :, None] - module.CHARGES[:, 0]).abs()
    assert home.min(1).values.max() < 1e-2
    shares = home.argmin(1).bincount() / module.COUNT
    torch.testing.assert_close(shares.double(), module.WEIGHTS)
    drift = module.flux(x, z) - module.flux(x[:1], z[:1])
    assert drift.abs().max() < 5e-4


def test_flux_beside_one_line_of_charges_is_between_none_and_all():
    module = example("field_lines")
    x, z = torch.tensor([100.0, -100.0, -2.0]).double(), torch.full((3,), 1e-9).double()
    torch.testing.assert_close(module.flux(x, z), torch.tensor([0.0, 1.0, 0.7]).double())


@pytest.mark.parametrize("name", ["VP diffusion", "Poisson flow (D = 1)"])
def test_ddim_is_euler(name):
    module = example("ddim_is_euler")
    ddim, euler, rho = module.compare(module.FIELDS[name], 12)
    assert ddim.shape == (13, 24, 2) and rho.shape == (13,)
    assert (ddim - euler).abs().max() < 1e-12
    assert (ddim[0] - ddim[-1]).norm(dim=1).min() > 0.1  # they moved


def test_a_ring_has_no_field_inside_and_is_reached_from_above_only():
    module = example("collapse")
    probe = torch.tensor([[0.3, 0.2]]).double()
    assert module.InPlane().velocity(probe, 0.0).norm() < 1e-13
    lifted = module.WITH_Z.velocity(probe, 0.1)
    torch.testing.assert_close(
        lifted, torch.tensor([[-1.241, -0.828]]).double(), atol=1e-3, rtol=0
    )
    plane, above = module.fall(module.InPlane(), 60), module.fall(module.WITH_Z, 60)
    inside = plane[0].norm(dim=1) < 0.98
    assert inside.sum() > 50
    assert (plane[-1, inside] - plane[0, inside]).norm(dim=1).max() < 0.02
    assert (above[-1].norm(dim=1) - 1).abs().max() < 0.02


def test_a_gan_and_its_particles_move(tmp_path):
    path = example("gan_as_flow").main(out=tmp_path, steps=3, animate=True)
    with Image.open(path.with_suffix(".gif")) as film:
        assert film.n_frames == 25
        first = np.asarray(film.convert("RGB")).astype(int)
        film.seek(24)
        assert np.abs(np.asarray(film.convert("RGB")).astype(int) - first).sum() > 0


def test_guidance_says_what_it_costs(tmp_path, capsys):
    example("guided_digits").main(out=tmp_path, steps=3)
    lines = capsys.readouterr().out.splitlines()
    calls = [line.partition("evaluations, ")[2] for line in lines if line.startswith("w = ")]
    assert calls == [f"{n} network calls" for n in (35, 70, 35, 70, 70, 70)]


def test_a_published_pipeline_is_solved_more_closely_than_by_its_own_scheduler(tmp_path, capsys):
    example("published_pipeline").main(out=tmp_path, steps=2)
    lines = [line for line in capsys.readouterr().out.splitlines() if "evaluations" in line]
    theirs, ours = (float(line.split(": ")[1].split()[0]) for line in lines)
    assert ours < theirs / 3


def test_masked_letters_are_of_the_law_in_one_step_by_guesses_of_the_whole(tmp_path, capsys):
    example("masked_letters").main(tmp_path, steps=8, n=2000)
    means = {line.split(":")[0]: float(line.split()[-4].strip(",")) for line in lines(capsys)}
    entropy = means["as a whole, 1 step"]
    assert abs(means["as a whole, 8 steps"] - entropy) < 0.2
    assert means["by positions, 1 step"] < entropy - 3


def lines(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if "mean log P" in line]
